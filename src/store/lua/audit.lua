-- audit: entries up to the group's position on which no worker has a lease -> pending, idle for a whole lease, so that
-- the next claim takes them. Entries that somebody took out of the queue are noticed and counted.
-- KEYS  1 queue  2 counts  3 audit
-- ARGV  1 consumer ('': looks only, and changes nothing)  2 lease in ms  3 entry id to continue after ('': from the
--       beginning)
--       4 whether to look even if another worker looked in the last 10 s (1|0)
-- Answers nothing if there is no group, or if another worker looked in the last 10 s; else [entries without a lease,
-- entry id to continue after ('': all were looked at; before that, the values that follow mean nothing), 1 if entries
-- were taken out since the last look else 0, their number as far as it is known, ms since a look last noticed any (-1:
-- never), id of the oldest entry ('': none), now in Unix ms].
local queue, counts, audit = unpack(KEYS)
local consumer, from, now = ARGV[1], ARGV[3], now_ms()
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
local unleased, behind = unleased_entries(queue, from, group['last-delivered-id'])
if #unleased > 0 and not only_looks then hand_out(queue, audit, consumer, ARGV[2], unleased) end
if behind then return { #unleased, behind, 0, 0, -1, '', now } end

local stream = named(redis.call('XINFO', 'STREAM', queue))
local seen, taken, is_loss_seen = compare(queue, stream, group, last_look, group.pending + #unleased)
-- A look in several parts that writes nothing down cannot tell changes between its parts from losses.
if only_looks and from ~= '' then taken = 0 end
-- The other scripts count the entries that they miss, too.
local total = tonumber(redis.pcall('HGET', counts, 'entries_trimmed')) or 0
local since_last_look = taken + math.max(0, total - (tonumber(last_look.trimmed) or 0))
local is_noticed = since_last_look > 0 or is_loss_seen
if not only_looks then
  count(counts, 'entries_trimmed', taken)
  if is_noticed then
    count(counts, 'trims_seen', 1)
    redis.pcall('HSET', audit, 'noticed', now)
  end
  redis.pcall('HSET', audit, 'position', group['last-delivered-id'], 'trimmed', total + taken)
  for name, value in pairs(seen) do redis.pcall('HSET', audit, name, value) end
  redis.pcall('HDEL', audit, 'deleted')
end
local noticed = tonumber(last_look.noticed)
local oldest = stream['first-entry']

return {
  #unleased,
  '',
  is_noticed and 1 or 0,
  since_last_look,
  noticed and math.max(0, now - noticed) or -1,
  oldest and oldest[1] or '',
  now,
}
