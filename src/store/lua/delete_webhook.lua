-- delete webhook: it is gone with its log, held and failed deliveries.
-- KEYS  1 webhooks  2 logs  3 held  4 failed  5 visits  6 counts  7 held_bytes
-- ARGV  1 webhook  2 <account>/<webhook>
-- Answers [1 if it was there else 0, held deliveries dropped, failed deliveries dropped].
local was_there = redis.call('HDEL', KEYS[1], ARGV[1])
-- A key of a wrong type goes too, and counts for nothing.
local function length(key)
  local entries = redis.pcall('XLEN', key)
  return type(entries) == 'number' and entries or 0
end
local held, failed = length(KEYS[3]), length(KEYS[4])
count(KEYS[6], 'deliveries_of_deleted_webhook', held)
count(KEYS[6], 'failed_of_deleted_webhook', failed)
redis.call('UNLINK', KEYS[2], KEYS[3], KEYS[4])
redis.call('ZREM', KEYS[5], ARGV[2])
redis.pcall('HDEL', KEYS[7], ARGV[1])
return { was_there, held, failed }
