-- use api key: the day of a key's last use -> written, unless the key was revoked meanwhile.
-- KEYS  1 apikeys  2 apikeys:used
-- ARGV  1 id  2 day, such as 2026-03-26
-- Answers 1 if the key exists, else 0.
local exists = redis.call('HEXISTS', KEYS[1], ARGV[1])
if exists == 1 then redis.call('HSET', KEYS[2], ARGV[1], ARGV[2]) end
return exists
