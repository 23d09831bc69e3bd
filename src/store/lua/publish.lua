-- publish: a live worker's figures -> their key, for a while, on a full Redis too.
-- KEYS  1 worker
-- ARGV  1 figures as JSON  2 lifetime in s
-- Answers PUBLISHED.
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
return 'PUBLISHED'
