-- promote: retries that are due -> queue, oldest first.
-- KEYS  1 retries  2 queue  3 releases  4 visits
-- ARGV  1 most entries  2 most bytes (at least one is moved)
-- Answers [how many moved, ms until the next retry is due, until the next release, until the next visit, now in Unix ms];
-- 0 ms: one is due now; -1: none is left.
local retries, queue, now = KEYS[1], KEYS[2], now_ms()
local moved, bytes = 0, 0
while moved < tonumber(ARGV[1]) do
  local delivery = redis.call('ZRANGE', retries, '-inf', now, 'BYSCORE', 'LIMIT', 0, 1)[1]
  if not delivery or (moved > 0 and bytes + #delivery > tonumber(ARGV[2])) then break end
  redis.call('XADD', queue, '*', 'delivery', delivery)
  redis.call('ZREM', retries, delivery)
  moved, bytes = moved + 1, bytes + #delivery
end
-- Guarded: what moved has moved, though somebody spoiled the key of the releases or visits.
local function wait_ms(key)
  local following = redis.pcall('ZRANGE', key, 0, 0, 'WITHSCORES')[2]
  return following and math.max(0, following - now) or -1
end
return { moved, wait_ms(retries), wait_ms(KEYS[3]), wait_ms(KEYS[4]), now }
