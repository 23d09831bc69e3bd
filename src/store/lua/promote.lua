-- promote: retries that are due -> queue, oldest first.
-- KEYS  1 retries  2 queue
-- ARGV  1 most entries  2 most bytes
-- Answers [how many moved, ms until the next is due (0: more are due now; -1: none is left), now in Unix ms].
local retries, queue, now = KEYS[1], KEYS[2], now_ms()
local moved, bytes = 0, 0
while moved < tonumber(ARGV[1]) and bytes < tonumber(ARGV[2]) do
  local delivery = redis.call('ZRANGE', retries, '-inf', now, 'BYSCORE', 'LIMIT', 0, 1)[1]
  if not delivery then break end
  redis.call('XADD', queue, '*', 'delivery', delivery)
  redis.call('ZREM', retries, delivery)
  moved, bytes = moved + 1, bytes + #delivery
end
local following = redis.call('ZRANGE', retries, 0, 0, 'WITHSCORES')
local wait_ms = following[2] and math.max(0, following[2] - now) or -1
return { moved, wait_ms, now }
