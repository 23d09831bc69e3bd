-- delete webhook: it is gone with its log, held and failed deliveries.
-- KEYS  1 webhooks  2 logs  3 held  4 failed  5 visits  6 counts
-- ARGV  1 webhook  2 <account>/<webhook>
-- Answers [1 if it was there else 0, held deliveries dropped, failed deliveries dropped].
local was_there = redis.call('HDEL', KEYS[1], ARGV[1])
local held, failed = redis.call('XLEN', KEYS[3]), redis.call('XLEN', KEYS[4])
if held > 0 then redis.call('HINCRBY', KEYS[6], 'deliveries_of_deleted_webhook', held) end
redis.call('UNLINK', KEYS[2], KEYS[3], KEYS[4])
redis.call('ZREM', KEYS[5], ARGV[2])
return { was_there, held, failed }
