-- status: reads one partition's figures. Changes nothing. The cost of no command here grows with the length of the
-- queue.
-- KEYS  1 queue  2 retries  3 releases  4 visits  5 rejected  6 counts, and for those who may know them
--       7 idempotency  8 idempotency:before
-- ARGV  1 how long after its time a retry counts as late, in ms
-- Answers [now in Unix ms,
--   [entries, id of the oldest that no worker has taken, id of the oldest ('': none), in flight],
--   [consumer, …], [retries, of them late, ms since the first was due], [releases, of them due],
--   [visits, of them due], [rejected, their bytes],
--   [cause, n, …],
--   [keys, their notes] of idempotency, and of idempotency:before ('': none); `accept` says what the notes are].
local queue, retries, releases, visits, rejected, counts = unpack(KEYS)
local now = now_ms()

-- A missing stream or group has nothing in flight.
local function info(...)
  local found = redis.pcall('XINFO', ...)
  return found.err and {} or found
end
local in_flight, untaken, names = 0, '-', {}
for _, group in ipairs(info('GROUPS', queue)) do
  if group[2] == 'workers' then in_flight, untaken = group[6], '(' .. group[8] end
end
for i, consumer in ipairs(info('CONSUMERS', queue, 'workers')) do names[i] = consumer[2] end
local function first_id(from)
  local first = redis.call('XRANGE', queue, from, '+', 'COUNT', 1)[1]
  return first and first[1] or ''
end

local function known_keys(hash)
  if not hash then return { 0, '' } end
  return { math.max(0, redis.call('HLEN', hash) - 1), redis.call('HGET', hash, '') or '' }
end
local first = tonumber(redis.call('ZRANGE', retries, 0, 0, 'WITHSCORES')[2])
return {
  now,
  { redis.call('XLEN', queue), first_id(untaken), first_id('-'), in_flight },
  names,
  {
    redis.call('ZCARD', retries),
    redis.call('ZCOUNT', retries, '-inf', now - ARGV[1]),
    first and math.max(0, now - first) or 0,
  },
  { redis.call('ZCARD', releases), redis.call('ZCOUNT', releases, '-inf', now) },
  { redis.call('ZCARD', visits), redis.call('ZCOUNT', visits, '-inf', now) },
  { redis.call('XLEN', rejected), redis.call('MEMORY', 'USAGE', rejected) or 0 },
  redis.call('HGETALL', counts),
  known_keys(KEYS[7]),
  known_keys(KEYS[8]),
}
