-- hold (leased, several at once): an entry -> held, because its webhook is off or its endpoint has too much in flight.
-- KEYS  1 queue  2 visits  3 counts, then for each entry: webhooks, held
-- ARGV  1 consumer  2 held limit (entries)  3 held limit (bytes), then for each entry: entry id, delivery count, account,
--       webhook, reason (off|slow|failing), delivery line, ms until the next visit at the latest
-- Answers for each entry: HELD, LOST (the lease is another's), GONE (the webhook is deleted), ACTIVE (off, and it is on
-- after all: attempt it), FULL (slow, and one more would cost the oldest: attempt it), or the error that kept it where
-- it was, without holding up its neighbours.
local queue, visits, counts = KEYS[1], KEYS[2], KEYS[3]
local consumer, limit, max_bytes, now = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), now_ms()
-- Entries whose stay ends; by held key, the largest that was added. What entries have in common is done once for all.
local ended, added = {}, {}

local function hold(k, a)
  local webhooks, held = KEYS[k + 1], KEYS[k + 2]
  local entry, deliveries, account, webhook, reason, line, visit_ms = unpack(ARGV, a + 1, a + 7)
  if not holds(queue, entry, consumer, deliveries) then return 'LOST' end
  local settings = redis.call('HGET', webhooks, webhook)
  if not settings then
    count(counts, 'deliveries_of_deleted_webhook', 1)
    ended[#ended + 1] = entry
    return 'GONE'
  end
  if reason == 'off' and is_active(settings) then return 'ACTIVE' end
  local event = fields(queue, entry)
  local delivery = event and line .. '\n' .. envelope(event)
  if reason == 'slow' and event and is_full(held, limit, max_bytes, #delivery, added[held] or 0) then return 'FULL' end

  -- Before anything is held: what is held is always visited.
  if not added[held] then visit_by(visits, account .. '/' .. webhook, now + visit_ms) end
  if event then
    redis.call('XADD', held, '*', 'delivery', delivery)
    added[held] = math.max(added[held] or 0, #delivery)
  end
  ended[#ended + 1] = entry
  return 'HELD'
end

local answers = for_each(hold, 3, 2, 3, 7)
done(queue, unpack(ended))
for held, largest in pairs(added) do bound(held, limit, max_bytes, largest, counts, 'held_overflow') end
return answers
