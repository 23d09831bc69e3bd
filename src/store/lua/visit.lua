-- visit: a webhook whose visit is due -> `held`, `failed` and the log trimmed by age, and `held` also by bytes while
-- the webhook is off; the release planned if the webhook is on and holds deliveries; the next visit planned, or none if
-- nothing is left. If the settings are gone, everything of the webhook is dropped. A key of a wrong type does not
-- hinder the rest of the visit.
-- KEYS  1 webhooks  2 logs  3 held  4 failed  5 visits  6 releases  7 counts  8 held_bytes
-- ARGV  1 webhook  2 <account>/<webhook>  3 held retention in ms  4 failed retention in ms
--       5 time of the oldest log entry to keep (RFC 3339)  6 held limit (bytes)
-- Answers VISITED; AGAIN (visited, and due again at once, because more has to go); NOT_DUE (another worker made the
-- visit); or GONE (there are no settings, and everything was dropped).
local webhooks, logs, held, failed, visits, releases, counts, sums = unpack(KEYS)
local webhook, member, max_bytes, now = ARGV[1], ARGV[2], tonumber(ARGV[6]), now_ms()
local due = redis.call('ZSCORE', visits, member)
if not due or tonumber(due) > now then return 'NOT_DUE' end
local settings = redis.pcall('HGET', webhooks, webhook)
if not settings and (names_another(held, webhook, member) or names_another(failed, webhook, member)) then
  redis.call('ZREM', visits, member)
  return 'VISITED'
elseif not settings then
  drop_webhook(webhook, member, unpack(KEYS, 2))
  return 'GONE'
end
-- A webhook whose settings cannot be read does not count as on.
local active = not settings.err and is_active(webhook, settings)
local waiting, more_held = drop_old(held, now - ARGV[3], counts, 'held_expired')
local kept, more_failed = drop_old(failed, now - ARGV[4], counts, 'failed_expired')
local again = more_held or more_failed

-- The held bytes are weighed again, by 10,000 nodes (0.5 ms), if their running sum is missing, makes no sense or
-- reaches the limit. If the limit is reached while the webhook is off, the oldest are dropped until a sixteenth is
-- free, so that the next ones need not be weighed; at most 16 MiB of them, so that the script does not take long.
local noted = redis.pcall('HGET', sums, webhook)
local sum = tonumber(noted)
if waiting == 0 then
  if noted then redis.pcall('HDEL', sums, webhook) end
elseif not (sum and sum >= 0 and sum < max_bytes) then
  sum = weigh_held(held, 10000)
  if sum >= max_bytes and not active then
    local left = free_held(held, waiting, math.min(sum - max_bytes * 15 / 16, 16777216))
    count(counts, 'held_overflow', waiting - left)
    waiting, sum = left, weigh_held(held, 10000)
    again = again or sum >= max_bytes and waiting > 1
  end
  redis.pcall('HSET', sums, webhook, string.format('%.0f', sum))
end
if active and waiting > 0 then pcall(come_by, releases, member, now) end

local is_logged, more_logged = drop_old_log(logs, ARGV[5])
again = again or more_logged
if is_logged or waiting + kept > 0 then
  redis.call('ZADD', visits, again and 0 or at_rest(now, member), member)
else
  redis.call('ZREM', visits, member)
end
return again and 'AGAIN' or 'VISITED'
