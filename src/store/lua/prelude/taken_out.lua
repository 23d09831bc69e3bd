-- Entries that somebody took out of the queue, for `audit`. Takes `ids`.

-- Compares what Redis tells of the stream and the group, of which `pending` entries are pending, with what the last look wrote
-- down. Of the entries ever added, it is known which the group has read and which it has yet to read: the missing ones were
-- taken out unread, and some of those may be known since the last look. A group that begins anew tells nothing, and neither
-- does another server, which may have been told of reads too late. Redis does not always know how many entries were read: then
-- at least it shows that the next entry is gone.
-- Answers a table to write down: read, missing, next, added and run_id; and taken, and whether anything else shows a loss.
local function compare(queue, stream, group, last_look, pending)
  local position, first, added = group['last-delivered-id'], stream['first-entry'], stream['entries-added']
  local gone = pending
  if first then gone = #redis.call('XPENDING', queue, 'workers', '-', '(' .. first[1], 1000) end
  local ahead = redis.pcall('XRANGE', queue, '(' .. position, '+', 'COUNT', 1)
  local next_entry = not ahead.err and ahead[1] and ahead[1][1]
  local goes_on = last_look.position and not is_after(last_look.position, position)
  local run_id = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
  -- Deleted entries lie before the position, unless that was set back since: then the last look says nothing.
  local is_whole = not is_after(stream['max-deleted-entry-id'], position)
  local is_set_back = #redis.pcall('XPENDING', queue, 'workers', '(' .. position, '+', 1) > 0
  local missing, taken, read = 0, 0, group['entries-read']
  if added and gone < 1000 and not is_set_back then
    local unread = stream.length - (pending - gone)
    if not read and position == '0-0' and stream['max-deleted-entry-id'] == '0-0' then read = 0 end
    if not read and goes_on and is_whole and position == last_look.position then read = tonumber(last_look.read) end
    read = read or added - unread
    missing = added - read - unread
    local is_first = not last_look.position and position == '0-0'
    local before = goes_on and run_id == last_look.run_id and tonumber(last_look.missing) or is_first and 0 or missing
    taken = math.max(0, missing - before)
  end
  local next_is_gone = goes_on and is_whole and is_after(last_look.next, position)
    and #redis.call('XRANGE', queue, last_look.next, last_look.next) == 0
  -- A queue that was deleted begins to count anew. Nobody knows its entries.
  local is_new = last_look.deleted or added and added < (tonumber(last_look.added) or 0)
  local seen = { read = read or '', missing = missing, next = next_entry or '', added = added or '', run_id = run_id }
  return seen, taken, next_is_gone or is_new
end
