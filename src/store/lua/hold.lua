-- hold (leased, several at once): an entry -> held, because its webhook is off or its endpoint has too much in flight.
-- What entries of one webhook have in common is said and done once for all of them.
-- KEYS  1 queue  2 visits  3 counts, then for each webhook: webhooks, held
-- ARGV  1 consumer  2 held limit (entries)  3 held limit (bytes)  4 first entry id  5 last entry id  6 how many entries,
--       then for each webhook: account, webhook, how many of its entries follow, and for each of those: entry id, delivery
--       count, delivery line, reason (off|slow|failing), ms until the next visit at the latest
-- Answers for each entry: HELD, LOST (the lease is another's), GONE (the webhook is deleted), ACTIVE (off, and it is on
-- after all: attempt it), FULL (slow, and one more would cost the oldest: attempt it), or the error that kept it where
-- it was, without holding up its neighbours.
local queue, visits, counts = KEYS[1], KEYS[2], KEYS[3]
local limit, max_bytes, now = ARGV[2], tonumber(ARGV[3]), now_ms()
local holds = leases(queue, ARGV[1], ARGV[4], ARGV[5], tonumber(ARGV[6]))
-- Entries whose stay ends; webhooks, each with the bytes of the largest that was added to what it holds.
local ended, webhooks, answers = {}, {}, {}

local function hold(of, entry, deliveries, line, reason, visit_ms)
  if not holds(entry, deliveries) then return 'LOST' end
  local settings = redis.call('HGET', of.webhooks, of.webhook)
  if not settings then
    count(counts, 'deliveries_of_deleted_webhook', 1)
    ended[#ended + 1] = entry
    return 'GONE'
  end
  if reason == 'off' and is_active(settings) then return 'ACTIVE' end
  local event = fields(queue, entry)
  local delivery = event and line .. '\n' .. envelope(event)
  if reason == 'slow' and event and is_full(of.held, tonumber(limit), max_bytes, #delivery, of.largest) then return 'FULL' end

  -- Before anything is held: what is held is always visited.
  if of.largest == 0 then visit_by(visits, of.member, now + visit_ms) end
  if event then
    redis.call('XADD', of.held, '*', 'delivery', delivery)
    of.largest = math.max(of.largest, #delivery)
  end
  ended[#ended + 1] = entry
  return 'HELD'
end

local a = 6
for k = 4, #KEYS, 2 do
  local account, webhook, entries = unpack(ARGV, a + 1, a + 3)
  local of = { webhooks = KEYS[k], held = KEYS[k + 1], webhook = webhook, member = account .. '/' .. webhook, largest = 0 }
  a = a + 3
  for _ = 1, entries do
    answers[#answers + 1] = guarded(hold, of, unpack(ARGV, a + 1, a + 5))
    a = a + 5
  end
  webhooks[#webhooks + 1] = of
end

done(queue, unpack(ended))
for _, of in ipairs(webhooks) do
  if of.largest > 0 then bound(of.held, limit, max_bytes, of.largest, counts, 'held_overflow') end
end
return answers
