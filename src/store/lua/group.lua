-- group: no consumer group -> a group that reads from the beginning. That repeats nothing, because settled entries are
-- gone from the stream. This is a script so that a worker can start on a full Redis.
-- KEYS  1 queue  2 audit
-- Answers 1 if the script made the group, else 0.
local queue, audit = KEYS[1], KEYS[2]
local made = redis.pcall('XGROUP', 'CREATE', queue, 'workers', '0')
local is_there = made.err and string.find(made.err, 'BUSYGROUP', 1, true)
local without_queue = made.err and not is_there
if without_queue then made = redis.pcall('XGROUP', 'CREATE', queue, 'workers', '0', 'MKSTREAM') end
if made.err and not is_there then return made end
if redis.pcall('HSETNX', audit, 'leases_lost', 0) == 0 and not is_there then
  -- It is not the first group. The new group reads from the beginning, so notes about the old one's reads do not apply
  -- to it. An entry in hand that the queue no longer has is its worker's alone; any other may now come to another
  -- worker.
  redis.pcall('HDEL', audit, 'next', 'read')
  local now, first = now_ms(), redis.call('XRANGE', queue, '-', '+', 'COUNT', 1)[1]
  local lost_before = first and first[1] or string.format('%.0f-0', now + 1)
  redis.pcall('HSET', audit, 'leases_lost', now, 'lost_before', lost_before)
  if without_queue then redis.pcall('HSET', audit, 'deleted', 1) end
end
return is_there and 0 or 1
