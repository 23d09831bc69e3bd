-- renew: leases of `consumer` -> counted from now.
-- KEYS  1 queue
-- ARGV  1 consumer  2 first entry id  3 last entry id  4 how many leases, then for each lease: entry id, delivery count
-- Answers the ids of entries that `consumer` no longer holds under that count.
local queue, consumer, kept, lost = KEYS[1], ARGV[1], {}, {}
local holds = leases(queue, consumer, ARGV[2], ARGV[3], tonumber(ARGV[4]))
for i = 5, #ARGV, 2 do
  local to = holds(ARGV[i], ARGV[i + 1]) and kept or lost
  to[#to + 1] = ARGV[i]
end
if #kept > 0 then
  -- JUSTID neither reads the entries nor counts them up.
  kept[#kept + 1] = 'JUSTID'
  redis.call('XCLAIM', queue, 'workers', consumer, '0', unpack(kept))
end
return lost
