-- delete api key: an API key, and the day of its last use -> gone.
-- KEYS  1 apikeys  2 apikeys:used
-- ARGV  1 id
-- Answers 1 if the key existed, else 0.
redis.call('HDEL', KEYS[2], ARGV[1])
return redis.call('HDEL', KEYS[1], ARGV[1])
