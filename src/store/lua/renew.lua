-- renew: leases of `consumer` -> counted from now.
-- KEYS  1 queue
-- ARGV  1 consumer, then for each lease: entry id, delivery count
-- Answers the ids of entries that `consumer` no longer holds under that count.
local queue, consumer, lost = KEYS[1], ARGV[1], {}
for i = 2, #ARGV, 2 do
  if holds(queue, ARGV[i], consumer, ARGV[i + 1]) then
    -- JUSTID neither reads the entry nor counts it up.
    redis.call('XCLAIM', queue, 'workers', consumer, 0, ARGV[i], 'JUSTID')
  else
    lost[#lost + 1] = ARGV[i]
  end
end
return lost
