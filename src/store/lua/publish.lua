-- publish: a live worker's figures, on a full Redis too.
-- KEYS  1 worker
-- ARGV  1 figures as JSON  2 lifetime in s
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
return 'PUBLISHED'
