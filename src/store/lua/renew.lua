-- renew: leases of `consumer` -> begin now. An entry that somebody took out of the queue is removed from the pending
-- list.
-- KEYS  1 queue  2 counts  3 audit
-- ARGV  1 consumer  2 first entry id  3 last entry id  4 number of leases, then for each lease: entry id, delivery
--       count
-- Answers three lists of entry ids: leases that `consumer` lost; entries that were taken out of the queue; and entries
-- that vanished, so that no consumer has a lease, unless a step of `consumer` has just settled them.
local queue, counts, audit, consumer = KEYS[1], KEYS[2], KEYS[3], ARGV[1]
local kept, lost, trimmed, vanished = {}, {}, {}, {}
local owns = owner_of(queue, consumer, ARGV[2], ARGV[3], tonumber(ARGV[4]))
for i = 5, #ARGV, 2 do
  local to = owns(ARGV[i], ARGV[i + 1]) and kept or is_vanished(queue, audit, ARGV[i], false) and vanished or lost
  to[#to + 1] = ARGV[i]
end
if #kept > 0 then
  -- JUSTID neither reads the entries nor raises their delivery counts.
  kept[#kept + 1] = 'JUSTID'
  local renewed = redis.call('XCLAIM', queue, 'workers', consumer, '0', unpack(kept))
  -- The answer has the same order, without the entries that are gone.
  local at = 1
  for i = 1, #kept - 1 do
    if renewed[at] == kept[i] then at = at + 1 else trimmed[#trimmed + 1] = kept[i] end
  end
  count(counts, 'entries_trimmed', #trimmed)
end
return { lost, trimmed, vanished }
