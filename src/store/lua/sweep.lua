-- sweep: rejected entries past their retention -> gone, counted.
-- KEYS  1 rejected  2 counts
-- ARGV  1 retention in ms
-- Answers how many went.
local dropped = redis.call('XTRIM', KEYS[1], 'MINID', '=', string.format('%.0f', now_ms() - ARGV[1]))
count(KEYS[2], 'rejected_expired', dropped)
if dropped > 0 and redis.call('XLEN', KEYS[1]) == 0 then redis.call('DEL', KEYS[1]) end
return dropped
