-- Entries that somebody took out of the queue, for `audit`. Takes `ids`.

-- Compares Redis's figures of the stream and the group, which has `pending` pending entries, with the notes of the last
-- look. Redis knows how many entries were added, how many the group has read, and how many it has yet to read. The
-- difference was taken out unread; a part of it may be known since the last look. A new group allows no comparison, and
-- neither does another server, which may have learned of reads too late. If Redis does not know how many entries were
-- read, the script still sees whether the next entry is gone.
-- Answers a table of notes (read, missing, next, added and run_id), the number taken out, and whether anything else
-- shows a loss.
local function compare(queue, stream, group, last_look, pending)
  local position, first, added = group['last-delivered-id'], stream['first-entry'], stream['entries-added']
  local gone = pending
  if first then gone = #redis.call('XPENDING', queue, 'workers', '-', '(' .. first[1], 1000) end
  local ahead = redis.pcall('XRANGE', queue, '(' .. position, '+', 'COUNT', 1)
  local next_entry = not ahead.err and ahead[1] and ahead[1][1]
  local goes_on = last_look.position and not is_after(last_look.position, position)
  local run_id = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
  -- Deleted entries lie before the position, unless the position was set back since. Then the last look's notes do not
  -- apply.
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
  -- A queue that was deleted counts from the beginning again. Its former entries are unknown.
  local is_new = last_look.deleted or added and added < (tonumber(last_look.added) or 0)
  local seen = { read = read or '', missing = missing, next = next_entry or '', added = added or '', run_id = run_id }
  return seen, taken, next_is_gone or is_new
end
