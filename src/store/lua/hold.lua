-- hold (leased): an entry -> held, because its webhook is off or its endpoint is busy.
-- KEYS  1 queue  2 webhooks  3 held  4 visits  5 counts
-- ARGV  1 consumer  2 entry id  3 delivery count  4 account  5 webhook  6 reason (off|busy)  7 delivery line
--       8 pace in ms (busy)  9 held limit (entries)  10 held limit (bytes)
-- Answers HELD, LOST (the lease is another's), GONE (the webhook is deleted), ACTIVE (it is on: attempt it).
local queue, webhooks, held, visits, counts = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local consumer, entry, deliveries, account, webhook, reason, line = unpack(ARGV, 1, 7)
if not holds(queue, entry, consumer, deliveries) then return 'LOST' end

local settings = redis.call('HGET', webhooks, webhook)
if not settings then
  count(counts, 'deliveries_of_deleted_webhook', 1)
  done(queue, entry)
  return 'GONE'
end
if reason == 'off' and cjson.decode(settings).active then return 'ACTIVE' end

-- Before anything is held: what is held is always visited.
visit_by(visits, account .. '/' .. webhook, now_ms() + (reason == 'busy' and ARGV[8] or 3600000))
local event = fields(queue, entry)
if event then
  redis.call('XADD', held, '*', 'delivery', line .. '\n' .. envelope(event))
  bound(held, ARGV[9], ARGV[10], counts, 'held_overflow')
end
done(queue, entry)
return 'HELD'
