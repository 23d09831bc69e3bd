-- promote: retries that are due -> queue, oldest first.
-- KEYS  1 retries  2 queue  3 releases  4 visits
-- ARGV  1 most entries  2 most bytes (at least one is moved)
--       3 the latest that the clock may show, Unix ms: beyond, it stepped forward, and nothing is moved
--       then, for each step that it made forward, the oldest first: until when and by how many ms. What was to be done before
--       that time, Unix ms, was planned before the step, and is due that much later.
-- Answers [how many moved, ms until the next retry is due, until the next release, until the next visit, now in Unix ms];
-- 0 ms: one is due now; -1: none is left.
local retries, queue, now = KEYS[1], KEYS[2], now_ms()
local moved, bytes = 0, 0

local function due_of(score)
  for i = 4, #ARGV, 2 do
    if score < tonumber(ARGV[i]) then score = score + ARGV[i + 1] end
  end
  return score
end

-- The first that is due, and when.
local function next_due()
  local from, delivery, due = '-inf', nil, nil
  for i = 4, #ARGV + 1, 2 do
    local before = ARGV[i] and '(' .. ARGV[i] or '+inf'
    local first = redis.call('ZRANGE', retries, from, before, 'BYSCORE', 'LIMIT', 0, 1, 'WITHSCORES')
    local at = first[1] and due_of(tonumber(first[2]))
    if at and not (due and due <= at) then delivery, due = first[1], at end
    from = ARGV[i]
  end
  return delivery, due
end

while now <= tonumber(ARGV[3]) and moved < tonumber(ARGV[1]) do
  local delivery, due = next_due()
  if not delivery or due > now or (moved > 0 and bytes + #delivery > tonumber(ARGV[2])) then break end
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
