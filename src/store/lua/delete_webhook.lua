-- delete webhook: a webhook, its log, its held and its failed deliveries -> gone, counted.
-- KEYS  1 webhooks  2 logs  3 held  4 failed  5 visits  6 releases  7 counts  8 held_bytes
-- ARGV  1 webhook  2 <account>/<webhook>  3 revision that it must have (0: any)
-- Answers [DELETED, held deliveries dropped, failed deliveries dropped], [GONE, 0, 0] (the account has no such webhook; what
-- is left of one that it had is dropped), [CONFLICT, present revision, 0] (it was edited since; nothing is dropped), or [UNREADABLE, 0, 0]
-- (its settings have no revision; nothing is dropped).
local webhook, asked = ARGV[1], tonumber(ARGV[3])
local settings = asked > 0 and redis.call('HGET', KEYS[1], webhook)
if settings then
  local is_json, read = pcall(cjson.decode, settings)
  local present = is_json and type(read) == 'table' and read.revision
  if type(present) ~= 'number' then return { 'UNREADABLE', 0, 0 } end
  if present ~= asked then return { 'CONFLICT', present, 0 } end
end
local was_there = redis.call('HDEL', KEYS[1], webhook)
-- The other keys are named by the webhook alone, and another account may have it. The visit names the account: what is
-- left of this account's own webhook has one.
if was_there == 0 and redis.pcall('ZREM', KEYS[5], ARGV[2]) ~= 1 then return { 'GONE', 0, 0 } end
return { was_there == 1 and 'DELETED' or 'GONE', drop_webhook(webhook, ARGV[2], unpack(KEYS, 2, 8)) }
