-- log: the test button's entry, whether the webhook is on or off.
-- KEYS  1 webhooks  2 logs  3 visits
-- ARGV  1 webhook  2 log entry  3 index of the last log entry  4 log TTL in s  5 <account>/<webhook>
-- Answers LOGGED, or GONE where the webhook is deleted.
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then return 'GONE' end
come_by(KEYS[3], ARGV[5], at_rest(now_ms(), ARGV[5]))
if add_to_log('LPUSH', KEYS[2], ARGV[3], ARGV[2]) then redis.call('EXPIRE', KEYS[2], ARGV[4]) end
return 'LOGGED'
