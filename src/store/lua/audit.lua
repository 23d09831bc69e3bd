-- audit: entries up to the group's position that nobody holds -> pending, as if their worker had been silent for a whole lease:
-- the next claim takes them. What somebody took out of the queue is noticed and counted.
-- KEYS  1 queue  2 counts  3 audit
-- ARGV  1 consumer ('': only looks, and changes nothing)  2 lease in ms  3 entry id to go on behind ('': from the beginning)
--       4 whether it is made though another worker looked just now (1|0)
-- Answers nothing where there is no group, or another worker looked just now; else [entries that nobody held, entry id to go on
-- behind ('': all was looked at; before that the following says nothing), 1 if entries were taken out since the last look else 0,
-- how many, as far as that is known, ms since that was noticed last (-1: never), id of the oldest entry ('': none), now in
-- Unix ms].
local queue, counts, audit = unpack(KEYS)
local consumer, lease_ms, from, now = ARGV[1], ARGV[2], ARGV[3], now_ms()
local only_looks = consumer == ''

local last_look = redis.pcall('HGETALL', audit)
last_look = last_look.err and {} or named(last_look)
if not only_looks and from == '' then
  local ago_ms = now - (tonumber(last_look.at) or 0)
  if ARGV[4] == '0' and ago_ms >= 0 and ago_ms < 10000 then return false end
  redis.pcall('HSET', audit, 'at', now)
end

local group = workers_of(queue)
if not group or group.err then return group or false end
local position = group['last-delivered-id']

-- Pending entries in their order, and what lies between them: that is held by nobody. 500 and 100 of those at most (some
-- 2 ms), and 1 MiB.
local unheld, bytes, behind = {}, 0, from == '' and '-' or '(' .. from
local function is_full() return #unheld == 100 or bytes >= 1048576 end
local function look_up_to(last)
  while not is_full() do
    -- Guarded: nothing is behind the largest id there is.
    local found = redis.pcall('XRANGE', queue, behind, last, 'COUNT', 1)
    if found.err or not found[1] then return end
    for _, text in ipairs(found[1][2]) do bytes = bytes + #text end
    unheld[#unheld + 1], behind = found[1][1], '(' .. found[1][1]
  end
end
local leases = redis.pcall('XPENDING', queue, 'workers', behind, position, 500)
if leases.err then leases = {} end
for _, lease in ipairs(leases) do
  look_up_to('(' .. lease[1])
  if is_full() then break end
  behind = '(' .. lease[1]
end
if #leases < 500 then look_up_to(position) end
if #unheld > 0 and not only_looks then
  -- Counted as never delivered, so that the claim counts the first time.
  local words = { unpack(unheld) }
  for _, word in ipairs({ 'IDLE', lease_ms, 'RETRYCOUNT', 0, 'FORCE', 'JUSTID' }) do words[#words + 1] = word end
  redis.call('XCLAIM', queue, 'workers', consumer, 0, unpack(words))
  redis.pcall('HSET', audit, 'handed_out', now, 'handed_out_to', unheld[#unheld])
end
if #leases == 500 or is_full() then return { #unheld, string.sub(behind, 2), 0, 0, -1, '', now } end

-- What was taken out. Of the entries ever added, those that the group has read and those that it has still to read are known;
-- what is missing besides was taken out unread. Some of that may be known since the last look. A group that begins anew tells
-- nothing, and neither does a server: what it was told of the reads may be old. Redis does not always know how many were read:
-- then it is at least seen that the next entry is gone.
local stream = named(redis.call('XINFO', 'STREAM', queue))
local first = stream['first-entry']
local held, added = group.pending + #unheld, stream['entries-added']
local gone = held
if first then gone = #redis.call('XPENDING', queue, 'workers', '-', '(' .. first[1], 1000) end
local ahead = redis.pcall('XRANGE', queue, '(' .. position, '+', 'COUNT', 1)
local next_entry = not ahead.err and ahead[1] and ahead[1][1]
local goes_on = last_look.position and not is_after(last_look.position, position)
local run_id = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
-- What was deleted lies before the position, unless that was set back since: then nothing of the last look can be relied on.
local is_whole = not is_after(stream['max-deleted-entry-id'], position)
local is_set_back = #redis.pcall('XPENDING', queue, 'workers', '(' .. position, '+', 1) > 0
local missing, taken, read = 0, 0, group['entries-read']
if added and gone < 1000 and not is_set_back then
  local unread = stream.length - (held - gone)
  if not read and position == '0-0' and stream['max-deleted-entry-id'] == '0-0' then read = 0 end
  if not read and goes_on and is_whole and position == last_look.position then read = tonumber(last_look.read) end
  read = read or added - unread
  missing = added - read - unread
  local is_first = not last_look.position and position == '0-0'
  local before = goes_on and run_id == last_look.run_id and tonumber(last_look.missing) or is_first and 0 or missing
  if not (only_looks and from ~= '') then taken = math.max(0, missing - before) end
end
local next_is_gone = goes_on and is_whole and is_after(last_look.next, position)
  and #redis.call('XRANGE', queue, last_look.next, last_look.next) == 0
-- A queue that was deleted begins to count anew. Nobody knows what was in it.
local is_new = last_look.deleted or added and added < (tonumber(last_look.added) or 0)
-- Besides, the other scripts count what they miss.
local total = tonumber(redis.pcall('HGET', counts, 'entries_trimmed')) or 0
local since_last_look = taken + math.max(0, total - (tonumber(last_look.trimmed) or 0))
local is_noticed = since_last_look > 0 or next_is_gone or is_new
if not only_looks then
  count(counts, 'entries_trimmed', taken)
  if is_noticed then
    count(counts, 'trims_seen', 1)
    redis.pcall('HSET', audit, 'noticed', now)
  end
  redis.pcall('HSET', audit, 'position', position, 'read', read or '', 'missing', missing, 'trimmed', total + taken)
  redis.pcall('HSET', audit, 'next', next_entry or '', 'added', added or '', 'run_id', run_id)
  redis.pcall('HDEL', audit, 'deleted')
end
local noticed = tonumber(last_look.noticed)

return {
  #unheld,
  '',
  is_noticed and 1 or 0,
  since_last_look,
  noticed and math.max(0, now - noticed) or -1,
  first and first[1] or '',
  now,
}
