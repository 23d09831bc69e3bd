-- group: the consumer group is there, made where it was missing. What is settled is gone from the stream, so that
-- reading from the beginning repeats nothing that is done. A script, so that a worker can start on a full Redis too.
-- KEYS  1 queue  2 audit
-- Answers MADE, or THERE.
local made = redis.pcall('XGROUP', 'CREATE', KEYS[1], 'workers', '0', 'MKSTREAM')
if not made.err then
  -- The new group reads from the beginning: what the old one had read, and what it was to read next, says nothing of it.
  redis.pcall('HDEL', KEYS[2], 'next', 'read')
  return 'MADE'
end
if string.find(made.err, 'BUSYGROUP', 1, true) then return 'THERE' end
return made
