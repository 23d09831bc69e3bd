-- put webhook: a webhook's settings -> added, or in place of the revision that an edit was made on.
-- KEYS  1 webhooks  2 releases  3 held  4 counts  5 held_bytes
-- ARGV  1 webhook  2 its settings as JSON  3 revision edited (0: it is new)  4 most webhooks an account
--       5 <account>/<webhook>  6 whether it is on (1|0)  7 whether its held deliveries are dropped (1|0)
-- Answers [PUT (also if these very settings are there: a repetition), LIMIT (the account has as many as it may), GONE (it is
-- deleted) or CONFLICT (it was edited since), held deliveries dropped].
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
  -- Unlinking frees in the background, so any number is one step.
  redis.call('UNLINK', KEYS[3])
  redis.pcall('HDEL', KEYS[5], webhook)
end
if ARGV[6] == '1' and redis.call('EXISTS', KEYS[3]) == 1 then come_by(KEYS[2], ARGV[5], now_ms()) end
return { 'PUT', dropped }
