-- visit: looks after a webhook whose visit is due: held, failed and log are trimmed by age, and held by bytes while the webhook
-- is off; if it is on and holds anything, its release is planned; the next visit is set, or none where nothing is left. Where its
-- settings are gone, all else of it goes. A key that somebody spoiled does not keep the others from being looked after.
-- KEYS  1 webhooks  2 logs  3 held  4 failed  5 visits  6 releases  7 counts  8 held_bytes
-- ARGV  1 webhook  2 <account>/<webhook>  3 held retention in ms  4 failed retention in ms  5 oldest log time to keep (RFC 3339)
--       6 held limit (bytes)
-- Answers VISITED, or where it was not: NOT_DUE (another worker made it), GONE (there are no settings: all of it went).
local webhooks, logs, held, failed, visits, releases, counts, sums = unpack(KEYS)
local webhook, member, max_bytes, now = ARGV[1], ARGV[2], tonumber(ARGV[6]), now_ms()
local due = redis.call('ZSCORE', visits, member)
if not due or tonumber(due) > now then return 'NOT_DUE' end
local settings = redis.pcall('HGET', webhooks, webhook)
if not settings then
  drop_webhook(webhook, member, unpack(KEYS, 2))
  return 'GONE'
end
-- Of settings that cannot be read it is not known whether the webhook is on.
local active = not settings.err and is_active(webhook, settings)

-- What is left of a stream when the entries past their retention are gone; nothing of what is no stream.
local function trimmed(key, retention_ms, cause)
  local entries = redis.pcall('XLEN', key)
  if type(entries) ~= 'number' then return 0 end
  local dropped = entries > 0 and redis.call('XTRIM', key, 'MINID', '=', string.format('%.0f', now - retention_ms)) or 0
  count(counts, cause, dropped)
  if dropped == entries then redis.call('DEL', key) end
  return entries - dropped
end
local waiting, kept = trimmed(held, ARGV[3], 'held_expired'), trimmed(failed, ARGV[4], 'failed_expired')

-- The running sum of bytes that are held. It is weighed anew where it is missing, makes no sense or reaches the limit (0.05 µs
-- an entry); then, while the webhook is off, the oldest go until a sixteenth is free, so that the next ones need not be weighed.
-- They go unread, for to read 6 KB takes 10 µs: in steps that quadruple, the first no larger than the weight of the oldest and
-- the average say, the others than what the one before freed; 336 entries at most, which takes some 2 ms.
local noted = redis.pcall('HGET', sums, webhook)
local sum, is_over = tonumber(noted), false
if waiting == 0 then
  if noted then redis.pcall('HDEL', sums, webhook) end
elseif not (sum and sum >= 0 and sum < max_bytes) then
  sum = redis.call('MEMORY', 'USAGE', held, 'SAMPLES', 0)
  local least, step, oldest = max_bytes * 15 / 16, 16, 0
  if sum >= max_bytes and not active then
    for _, text in ipairs(redis.call('XRANGE', held, '-', '+', 'COUNT', 1)[1][2]) do oldest = oldest + #text end
    local each = math.max(oldest, sum / waiting)
    while sum > least and waiting > 1 and step <= 256 do
      local n = math.min(step, math.ceil((sum - least) / each), waiting - 1)
      count(counts, 'held_overflow', redis.call('XTRIM', held, 'MAXLEN', '=', waiting - n))
      local left = redis.call('MEMORY', 'USAGE', held, 'SAMPLES', 0)
      each, waiting, step, sum = math.max(1, (sum - left) / n), waiting - n, step * 4, left
    end
    is_over = sum >= max_bytes and waiting > 1
  end
  redis.pcall('HSET', sums, webhook, string.format('%.0f', sum))
end
if active and waiting > 0 then come_by(releases, member, now) end

-- The oldest log entry is young enough, or goes; so does what is no log entry.
local function log_left()
  local oldest = redis.pcall('LINDEX', logs, -1)
  while type(oldest) == 'string' do
    local ok, entry = pcall(cjson.decode, oldest)
    if ok and type(entry) == 'table' and type(entry.time) == 'string' and entry.time >= ARGV[5] then return true end
    redis.call('RPOP', logs)
    oldest = redis.call('LINDEX', logs, -1)
  end
  return false
end

if log_left() or waiting + kept > 0 then
  redis.call('ZADD', visits, is_over and 0 or at_rest(now, member), member)
else
  redis.call('ZREM', visits, member)
end
return 'VISITED'
