-- put webhook: adds a webhook, or replaces the revision that an edit was made on.
-- KEYS  1 webhooks  2 releases  3 held
-- ARGV  1 webhook  2 its settings as JSON  3 revision edited (0: it is new)  4 most webhooks an account
--       5 <account>/<webhook>  6 whether it is on (1|0)
-- Answers PUT (also where this very value is there already: a repetition), LIMIT (the account has its fill),
-- GONE (it is deleted), CONFLICT (it was edited since).
local webhooks, webhook, settings, edited = KEYS[1], ARGV[1], ARGV[2], tonumber(ARGV[3])
local present = redis.call('HGET', webhooks, webhook)
if present == settings then return 'PUT' end
if edited == 0 then
  if present then return 'CONFLICT' end
  if redis.call('HLEN', webhooks) >= tonumber(ARGV[4]) then return 'LIMIT' end
else
  if not present then return 'GONE' end
  if cjson.decode(present).revision ~= edited then return 'CONFLICT' end
end
redis.call('HSET', webhooks, webhook, settings)
if ARGV[6] == '1' and redis.call('EXISTS', KEYS[3]) == 1 then come_by(KEYS[2], ARGV[5], now_ms()) end
return 'PUT'
