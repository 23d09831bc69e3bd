-- put api key: a new API key -> stored. If it replaces another, that one gets its end in the same step.
-- KEYS  1 apikeys
-- ARGV  1 id  2 the key as JSON  3 most keys
--       only if it replaces another:  4 its id  5 its JSON as it was read  6 its JSON with the end
-- Answers PUT (also if exactly this key is already there: a repetition), LIMIT (there are the most keys), or CONFLICT
-- (the id is taken, or the key to replace was changed or revoked since it was read).
local keys, id, key = KEYS[1], ARGV[1], ARGV[2]
local present = redis.call('HGET', keys, id)
if present then return present == key and 'PUT' or 'CONFLICT' end
if ARGV[4] and redis.call('HGET', keys, ARGV[4]) ~= ARGV[5] then return 'CONFLICT' end
if redis.call('HLEN', keys) >= tonumber(ARGV[3]) then return 'LIMIT' end
redis.call('HSET', keys, id, key)
if ARGV[4] then redis.call('HSET', keys, ARGV[4], ARGV[6]) end
return 'PUT'
