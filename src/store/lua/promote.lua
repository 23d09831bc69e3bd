-- promote: retries that are due -> queue, oldest first.
-- KEYS  1 retries  2 queue  3 releases  4 visits
-- ARGV  1 most entries  2 most bytes (at least one is moved)
--       3 the latest that the clock may show, Unix ms: beyond, it stepped forward, and nothing is moved
--       4 Unix ms to which it stepped forward lately, 5 by how many ms (0: it did not). Retries that are due before then were
--       planned by the old time, and are due by it.
-- Answers [how many moved, ms until the next retry is due, until the next release, until the next visit, now in Unix ms];
-- 0 ms: one is due now; -1: none is left.
local retries, queue, now = KEYS[1], KEYS[2], now_ms()
local stepped_to, stepped_by = tonumber(ARGV[4]), tonumber(ARGV[5])
local moved, bytes = 0, 0

local function next_due()
  local first = redis.call('ZRANGE', retries, 0, 0, 'WITHSCORES')
  if not first[1] or stepped_by == 0 or tonumber(first[2]) >= stepped_to then return first[1], first[2] end
  local due = first[2] + stepped_by
  local later = redis.call('ZRANGE', retries, stepped_to, '+inf', 'BYSCORE', 'LIMIT', 0, 1, 'WITHSCORES')
  if later[1] and tonumber(later[2]) < due then return later[1], later[2] end
  return first[1], due
end

while now <= tonumber(ARGV[3]) and moved < tonumber(ARGV[1]) do
  local delivery, due = next_due()
  if not delivery or tonumber(due) > now or (moved > 0 and bytes + #delivery > tonumber(ARGV[2])) then break end
  redis.call('XADD', queue, '*', 'delivery', delivery, 'waited', 1)
  redis.call('ZREM', retries, delivery)
  moved, bytes = moved + 1, bytes + #delivery
end
local _, due = next_due()
-- Guarded: what moved has moved, though somebody spoiled the key of the releases or visits.
local function wait_ms(key)
  local following = redis.pcall('ZRANGE', key, 0, 0, 'WITHSCORES')[2]
  return following and math.max(0, following - now) or -1
end
return { moved, due and math.max(0, due - now) or -1, wait_ms(KEYS[3]), wait_ms(KEYS[4]), now }
