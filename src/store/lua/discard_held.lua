-- discard held: what a webhook holds -> gone, counted. Unlinking frees in the background, so any number is one step.
-- KEYS  1 webhooks  2 held  3 counts  4 held_bytes
-- ARGV  1 webhook
-- Answers [DONE, how many], or [GONE, 0] where the webhook is deleted.
local webhooks, held, counts = KEYS[1], KEYS[2], KEYS[3]
if redis.call('HEXISTS', webhooks, ARGV[1]) == 0 then return { 'GONE', 0 } end
local dropped = redis.call('XLEN', held)
count(counts, 'held_discarded', dropped)
redis.call('UNLINK', held)
redis.pcall('HDEL', KEYS[4], ARGV[1])
return { 'DONE', dropped }
