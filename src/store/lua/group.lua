-- group: no consumer group -> one that reads from the beginning, which repeats nothing, for settled entries are gone from the
-- stream. It is a script so that a worker can start on a full Redis.
-- KEYS  1 queue  2 audit
-- Answers 1 if it made the group, else 0.
local queue, audit = KEYS[1], KEYS[2]
local made = redis.pcall('XGROUP', 'CREATE', queue, 'workers', '0')
local is_there = made.err and string.find(made.err, 'BUSYGROUP', 1, true)
local without_queue = made.err and not is_there
if without_queue then made = redis.pcall('XGROUP', 'CREATE', queue, 'workers', '0', 'MKSTREAM') end
if made.err and not is_there then return made end
if redis.pcall('HSETNX', audit, 'leases_lost', 0) == 0 and not is_there then
  -- It is not the first group. The new one reads from the beginning, so the old one's reads say nothing of it. Entries that
  -- workers have in hand and that the queue no longer has are theirs alone; the rest may come to others now.
  redis.pcall('HDEL', audit, 'next', 'read')
  local now, first = now_ms(), redis.call('XRANGE', queue, '-', '+', 'COUNT', 1)[1]
  local lost_before = first and first[1] or string.format('%.0f-0', now + 1)
  redis.pcall('HSET', audit, 'leases_lost', now, 'lost_before', lost_before)
  if without_queue then redis.pcall('HSET', audit, 'deleted', 1) end
end
return is_there and 0 or 1
