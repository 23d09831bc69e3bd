-- log: the test button's log entry -> log, even if the webhook is off.
-- KEYS  1 webhooks  2 logs  3 visits  4 counts
-- ARGV  1 webhook  2 log entry  3 index of the last log entry  4 log TTL in s  5 <account>/<webhook>
-- Answers LOGGED, UNLOGGED (the log refused the entry), or GONE (the webhook is deleted).
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then return 'GONE' end
come_by(KEYS[3], ARGV[5], at_rest(now_ms(), ARGV[5]))
if not add_to_log('LPUSH', KEYS[2], ARGV[3], ARGV[2]) then
  count(KEYS[4], 'log_entries_refused', 1)
  return 'UNLOGGED'
end
redis.call('EXPIRE', KEYS[2], ARGV[4])
return 'LOGGED'
