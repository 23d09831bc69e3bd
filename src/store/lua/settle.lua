-- settle (leased, several at once): an attempted entry -> delivered | retries | failed, with its log entry.
-- Repeating it is harmless: what was settled is no longer pending, and answers LOST.
-- What several attempts have in common is done once for all: a call from Lua costs as much as what it calls.
-- KEYS  1 queue  2 retries  3 visits  4 counts, then for each attempt: webhooks, logs, failed
-- ARGV  1 consumer  2 log limit (entries)  3 log TTL in s  4 failed limit (entries)  5 failed limit (bytes), then for
--       each attempt: entry id, delivery count, account, webhook, next (delivered|retry|failed), delivery line as it
--       goes on, delay in ms from now (retry), log entry
-- Answers for each attempt: SETTLED, LOST (the lease is another's; nothing changed), GONE (the webhook is deleted), or
-- the error that kept it where it was (a key of a wrong type), without holding up its neighbours.
local queue, retries, visits, counts = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local consumer, now = ARGV[1], now_ms()
-- Entries whose stay ends; by log key, what is to be written there, and whose it is; by webhook, whether it is there.
local ended, logged, present = {}, {}, {}

local function settle(k, a)
  local entry, webhook, next, log = ARGV[a + 1], ARGV[a + 4], ARGV[a + 5], ARGV[a + 8]
  if not holds(queue, entry, consumer, ARGV[a + 2]) then return 'LOST' end
  if present[webhook] == nil then present[webhook] = redis.call('HEXISTS', KEYS[k + 1], webhook) == 1 end
  if not present[webhook] then
    count(counts, 'deliveries_of_deleted_webhook', 1)
    ended[#ended + 1] = entry
    return 'GONE'
  end
  local event = next ~= 'delivered' and fields(queue, entry)
  if event then
    local delivery, failed = ARGV[a + 6] .. '\n' .. envelope(event), KEYS[k + 3]
    if next == 'retry' then
      -- The very same delivery can wait already only where a producer gave two equal events one id.
      local added = redis.call('ZADD', retries, 'NX', now + ARGV[a + 7], delivery)
      count(counts, 'retries_merged', 1 - added)
    else
      visit_by(visits, ARGV[a + 3] .. '/' .. webhook, now + 3600000)
      redis.call('XADD', failed, '*', 'delivery', delivery, 'log', log)
      bound(failed, ARGV[4], ARGV[5], #delivery, counts, 'failed_overflow')
    end
  end
  ended[#ended + 1] = entry
  local logs = KEYS[k + 2]
  if not logged[logs] then logged[logs] = { member = ARGV[a + 3] .. '/' .. webhook } end
  logged[logs][#logged[logs] + 1] = log
  return 'SETTLED'
end

local answers = for_each(settle, 4, 3, 5, 8)
done(queue, unpack(ended))
for logs, entries in pairs(logged) do
  -- A log that was there has its visit; once a minute it is set again, since somebody may have lost the key. Guarded: what
  -- is settled is settled, and the other logs are to be written.
  local once_a_minute = write_log(logs, entries, ARGV[2], ARGV[3])
  if once_a_minute then pcall(visit_by, visits, entries.member, now + 3600000) end
end
return answers
