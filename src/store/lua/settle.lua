-- settle (leased, several at once): an attempted entry -> delivered | retries | failed, with its log entry.
-- Repeating it is harmless: what was settled is no longer pending, and answers LOST.
-- What several attempts have in common is said and done once for all: a call from Lua costs as much as what it calls,
-- and so does an argument.
-- KEYS  1 queue  2 retries  3 visits  4 counts, then for each webhook: webhooks, logs, failed
-- ARGV  1 consumer  2 log limit (entries)  3 log TTL in s  4 failed limit (entries)  5 failed limit (bytes)
--       6 first entry id  7 last entry id  8 how many attempts, then for each webhook: account, webhook, how many of its
--       attempts follow, and for each of those: entry id, delivery count, log entry, next (delivered|retry|failed), and
--       where it is not delivered: delivery line as it goes on, delay in ms from now (retry)
-- Answers for each attempt: SETTLED, LOST (the lease is another's; nothing changed), GONE (the webhook is deleted), or
-- the error that kept it where it was (a key of a wrong type), without holding up its neighbours.
local queue, retries, visits, counts = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local now = now_ms()
local holds = leases(queue, ARGV[1], ARGV[6], ARGV[7], tonumber(ARGV[8]))
-- Entries whose stay ends; webhooks with what is to be written to their logs.
local ended, webhooks, answers = {}, {}, {}

-- Moves an entry that is to be attempted again, or was attempted for the last time.
local function move(of, entry, log, next, line, delay_ms)
  local event = fields(queue, entry)
  if not event then return end
  local delivery = line .. '\n' .. envelope(event)
  if next == 'retry' then
    -- The very same delivery can wait already only where a producer gave two equal events one id.
    local added = redis.call('ZADD', retries, 'NX', now + delay_ms, delivery)
    count(counts, 'retries_merged', 1 - added)
  else
    visit_by(visits, of.member, now + 3600000)
    redis.call('XADD', of.failed, '*', 'delivery', delivery, 'log', log)
    bound(of.failed, ARGV[4], ARGV[5], #delivery, counts, 'failed_overflow')
  end
end

local function settle(of, entry, deliveries, log, next, ...)
  if not holds(entry, deliveries) then return 'LOST' end
  if of.there == nil then of.there = redis.call('HEXISTS', of.webhooks, of.webhook) == 1 end
  if not of.there then
    count(counts, 'deliveries_of_deleted_webhook', 1)
    ended[#ended + 1] = entry
    return 'GONE'
  end
  if next ~= 'delivered' then move(of, entry, log, next, ...) end
  ended[#ended + 1] = entry
  of.log[#of.log + 1] = log
  return 'SETTLED'
end

local a = 8
for k = 5, #KEYS, 3 do
  local account, webhook, attempts = unpack(ARGV, a + 1, a + 3)
  local of = { webhooks = KEYS[k], logs = KEYS[k + 1], failed = KEYS[k + 2], webhook = webhook, log = {} }
  of.member = account .. '/' .. webhook
  a = a + 3
  for _ = 1, attempts do
    local last = a + (ARGV[a + 4] == 'delivered' and 4 or 6)
    answers[#answers + 1] = guarded(settle, of, unpack(ARGV, a + 1, last))
    a = last
  end
  webhooks[#webhooks + 1] = of
end

done(queue, unpack(ended))
for _, of in ipairs(webhooks) do
  -- A log that was there has its visit; once a minute it is set again, since somebody may have lost the key. Guarded: what
  -- is settled is settled, and the other logs are to be written.
  local once_a_minute = #of.log > 0 and write_log(of.logs, of.log, ARGV[2], ARGV[3])
  if once_a_minute then pcall(visit_by, visits, of.member, now + 3600000) end
end
return answers
