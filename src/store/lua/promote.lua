-- promote: retries that are due -> queue, oldest first.
-- KEYS  1 retries  2 queue  3 releases  4 visits
-- ARGV  1 most entries  2 most bytes (at least one entry is moved)
--       3 the latest time that the clock may show, in Unix ms: a later time means that it stepped forward, and nothing
--       is moved
--       then, for each step forward, the oldest first: a time in Unix ms, and the step in ms. Retries with an earlier
--       time were planned before the step, so they are due later by the length of the step.
-- Answers [entries moved, ms until the next retry is due, until the next release, until the next visit, now in Unix
-- ms]. 0 ms: due now; -1: there is none.
local retries, queue, now = KEYS[1], KEYS[2], now_ms()
local moved, bytes = 0, 0

local function due_of(score)
  for i = 4, #ARGV, 2 do
    if score < tonumber(ARGV[i]) then score = score + ARGV[i + 1] end
  end
  return score
end

-- The retry that becomes due first, and its time.
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
-- Guarded: an error at `releases` or `visits` must not hide that retries moved.
local function wait_ms(key)
  local following = redis.pcall('ZRANGE', key, 0, 0, 'WITHSCORES')[2]
  return following and math.max(0, following - now) or -1
end
return { moved, due and math.max(0, due - now) or -1, wait_ms(KEYS[3]), wait_ms(KEYS[4]), now }
