-- publish: a live worker's figures -> their key, for their lifetime. This is a script so that it works on a full Redis.
-- KEYS  1 worker
-- ARGV  1 figures as JSON  2 lifetime in s
-- Answers PUBLISHED.
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
return 'PUBLISHED'
