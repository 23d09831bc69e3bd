-- Streams within their limits of entries and bytes.

-- The bytes of a stream: the larger of two estimates, one from five of its nodes, one from the entry that is added. If
-- half of `max_bytes` seems reached, all nodes are weighed (1 ms for 10,000 nodes).
local function weigh(key, newest_bytes, max_bytes)
  local about = math.max(redis.call('MEMORY', 'USAGE', key), redis.call('XLEN', key) * newest_bytes)
  if about * 2 < max_bytes then return about end
  return redis.call('MEMORY', 'USAGE', key, 'SAMPLES', 0)
end

-- Drops the oldest entries of a stream until `bytes` are freed, but never the newest entry; answers their number. One
-- call drops at most 128 entries and about 1 MiB (about 2 ms), so a bound that was lowered takes effect step by step.
local function drop_oldest(key, bytes)
  local dropped, most, enough = 0, math.min(128, redis.call('XLEN', key) - 1), bytes - 1048576
  while bytes > 0 and bytes > enough and dropped < most do
    local oldest = redis.call('XRANGE', key, '-', '+', 'COUNT', 1)[1]
    for _, text in ipairs(oldest[2]) do bytes = bytes - #text end
    dropped = dropped + redis.call('XDEL', key, oldest[1])
  end
  return dropped
end

-- Keeps a stream within `max_bytes` after an entry of `newest_bytes` was added; answers the number of old entries it
-- dropped.
local function bound_bytes(key, max_bytes, newest_bytes)
  return drop_oldest(key, weigh(key, newest_bytes, max_bytes) - max_bytes)
end

-- Keeps a stream within `max_bytes` and within `limit` entries.
local function bound(key, limit, max_bytes, newest_bytes)
  return redis.call('XTRIM', key, 'MAXLEN', '=', limit) + bound_bytes(key, max_bytes, newest_bytes)
end

-- Whether to measure the stream now: it is short, this batch passes a multiple of 16, or its largest entries could fill
-- a quarter of `max_bytes`.
local function is_close(length, entries, largest, max_bytes)
  return length < 16 or -length % 16 < entries or length * largest * 4 >= max_bytes
end
