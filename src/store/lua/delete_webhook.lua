-- delete webhook: a webhook, its log, its held and its failed deliveries -> gone, counted.
-- KEYS  1 webhooks  2 logs  3 held  4 failed  5 visits  6 releases  7 counts  8 held_bytes
-- ARGV  1 webhook  2 <account>/<webhook>
-- Answers [1 if the webhook existed else 0, held deliveries dropped, failed deliveries dropped].
local was_there = redis.call('HDEL', KEYS[1], ARGV[1])
return { was_there, drop_webhook(ARGV[1], ARGV[2], unpack(KEYS, 2, 8)) }
