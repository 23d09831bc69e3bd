-- put webhook: a webhook's settings -> added, or put in place of the revision that was edited.
-- KEYS  1 webhooks  2 releases  3 held  4 counts  5 held_bytes
-- ARGV  1 webhook  2 its settings as JSON  3 revision edited (0: a new webhook)  4 most webhooks of an account
--       5 <account>/<webhook>  6 whether the webhook is on (1|0)  7 whether to drop its held deliveries (1|0)
-- Answers [PUT (also if exactly these settings are already there: a repetition), LIMIT (the account has its most
-- webhooks), GONE (the webhook is deleted) or CONFLICT (it was edited since), held deliveries dropped].
local webhooks, webhook, settings, edited = KEYS[1], ARGV[1], ARGV[2], tonumber(ARGV[3])
local present = redis.call('HGET', webhooks, webhook)
if present == settings then return { 'PUT', 0 } end
if edited == 0 then
  if present then return { 'CONFLICT', 0 } end
  if redis.call('HLEN', webhooks) >= tonumber(ARGV[4]) then return { 'LIMIT', 0 } end
else
  if not present then return { 'GONE', 0 } end
  if cjson.decode(present).revision ~= edited then return { 'CONFLICT', 0 } end
end
local dropped = ARGV[7] == '1' and redis.call('XLEN', KEYS[3]) or 0
redis.call('HSET', webhooks, webhook, settings)
if dropped > 0 then
  count(KEYS[4], 'held_discarded', dropped)
  -- UNLINK frees in the background, so one step is enough for any number.
  redis.call('UNLINK', KEYS[3])
  redis.pcall('HDEL', KEYS[5], webhook)
end
if ARGV[6] == '1' and redis.call('EXISTS', KEYS[3]) == 1 then come_by(KEYS[2], ARGV[5], now_ms()) end
return { 'PUT', dropped }
