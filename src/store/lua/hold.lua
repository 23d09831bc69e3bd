-- hold (leased, several at once): an entry -> held, because its webhook is off or its endpoint has too much in flight.
-- What entries of one webhook have in common is said and done once for all of them; and, where many are held for it, not
-- with each batch. That they are shows that it is there, for they are deleted together, and that it is visited: both are
-- looked at again, and they are weighed, where `is_close` says so (with every sixteenth, for one), and where it is off or
-- there is no room.
-- KEYS  1 queue  2 visits  3 counts, then for each webhook: webhooks, held
-- ARGV  1 consumer  2 held limit (entries)  3 held limit (bytes)  4 first entry id  5 last entry id  6 how many entries,
--       then for each webhook: account, webhook, how many of its entries follow, and for each of those: entry id, delivery
--       count, delivery (line and envelope: to read it here would cost a third more), reason, ms until the next visit at
--       the latest. Reasons: off (the oldest goes where there are too many); or its endpoint is busy, and it is held within so
--       many times the limits (a number), or in any case (any)
-- Answers for each entry: HELD, LOST (the lease is another's), GONE (the webhook is deleted), ACTIVE (off, and it is on
-- after all: attempt it), FULL (busy, and one more may not be held), or the error that kept it where it was, without
-- holding up its neighbours.
local queue, visits, counts = KEYS[1], KEYS[2], KEYS[3]
local limit, max_bytes, now = tonumber(ARGV[2]), tonumber(ARGV[3]), now_ms()
local holds = leases(queue, ARGV[1], ARGV[4], ARGV[5], tonumber(ARGV[6]))
-- Entries whose stay ends; webhooks whose oldest may have to go.
local ended, webhooks, answers = {}, {}, {}

-- What one of so many bytes takes: as much again, 16 KiB at most, for what Redis adds to it and reserves for the next.
local function weight_of(bytes) return bytes + math.min(bytes, 16384) end

-- Whether one more may be held, though its webhook be on, without costing it its oldest. What is held is weighed, if at all,
-- once for each `within`.
local function may_be_held(of, bytes, within)
  if within == 'any' or of.entries == 0 then return true end
  if of.entries >= limit * within then return false end
  if not of.closely then return true end
  of.weights[within] = of.weights[within] or weigh(of.held, of.largest, max_bytes * within)
  return of.weights[within] + weight_of(bytes) <= max_bytes * within
end

local function move(of, entry, delivery, is_off)
  if is_off and not of.before then
    of.before = of.entries
    of.is_beyond = of.before > 0 and weigh(of.held, of.largest, max_bytes) > max_bytes
    of.added = 0
    webhooks[#webhooks + 1] = of
  end
  local id = redis.call('XADD', of.held, '*', 'delivery', delivery)
  -- What somebody deleted under its holder is not held.
  if redis.call('XDEL', queue, entry) == 0 then return redis.call('XDEL', of.held, id) end
  of.entries = of.entries + 1
  if of.before then of.added = of.added + #'delivery' + #delivery end
  for within, weight in pairs(of.weights) do of.weights[within] = weight + weight_of(#delivery) end
end

local function hold(of, entry, deliveries, delivery, reason, visit_ms)
  if not holds(entry, deliveries) then return 'LOST' end
  local is_off = reason == 'off'
  local is_full = not is_off and not may_be_held(of, #delivery, reason)
  if of.closely or is_off or is_full then
    if of.settings == nil then of.settings = redis.call('HGET', of.webhooks, of.webhook) end
    if not of.settings then
      count(counts, 'deliveries_of_deleted_webhook', 1)
      redis.call('XDEL', queue, entry)
      return 'GONE'
    end
    if is_off and is_active(of.webhook, of.settings) then return 'ACTIVE' end
    -- Before anything is held, and where as much is as may be: what is held is always visited.
    if not of.visited then visit_by(visits, of.member, now + visit_ms) end
    of.visited = true
    if is_full and is_active(of.webhook, of.settings) then return 'FULL' end
    -- If it is full, it was switched off meanwhile.
    is_off = is_off or is_full
  end
  move(of, entry, delivery, is_off)
  return 'HELD'
end

-- All of one webhook, whose arguments follow the `a`th.
local function hold_all(of, a, entries)
  for i = a + 3, a + 5 * entries, 5 do of.largest = math.max(of.largest, #ARGV[i]) end
  of.entries = redis.call('XLEN', of.held)
  of.closely = is_close(of.entries, entries, of.largest, max_bytes)
  for i = a + 1, a + 5 * entries, 5 do
    local answer = hold(of, unpack(ARGV, i, i + 4))
    answers[#answers + 1] = answer
    if answer == 'HELD' or answer == 'GONE' then ended[#ended + 1] = ARGV[i] end
  end
end

local a, asked = 6, 0
for k = 4, #KEYS, 2 do
  local account, webhook, entries = ARGV[a + 1], ARGV[a + 2], tonumber(ARGV[a + 3])
  local of = { webhooks = KEYS[k], held = KEYS[k + 1], webhook = webhook, largest = 0, weights = {} }
  of.member = account .. '/' .. webhook
  asked = asked + entries
  local refused = guarded(hold_all, of, a + 3, entries)
  while #answers < asked do answers[#answers + 1] = refused end
  a = a + 3 + 5 * entries
end

if #ended > 0 then redis.call('XACK', queue, 'workers', unpack(ended)) end
-- Where more was held before it was switched off, that is left, and what comes takes the place of the oldest, which have as
-- many bytes.
for _, of in ipairs(webhooks) do
  if of.is_beyond then count(counts, 'held_overflow', drop_oldest(of.held, of.added)) end
  local most, most_bytes = math.max(limit, of.before), of.is_beyond and math.huge or max_bytes
  count(counts, 'held_overflow', bound(of.held, most, most_bytes, of.largest))
end
return answers
