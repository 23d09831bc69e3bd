-- reject (leased): an entry that is no event -> rejected, whole, with the reason before its own fields.
-- KEYS  1 queue  2 rejected  3 counts
-- ARGV  1 consumer  2 entry id  3 delivery count  4 reason  5 rejected limit (entries)  6 rejected limit (bytes)
-- Answers DONE, or LOST where the lease is another's.
local queue, rejected, counts = KEYS[1], KEYS[2], KEYS[3]
local consumer, entry, deliveries, reason = unpack(ARGV, 1, 4)
if not holds(queue, entry, consumer, deliveries) then return 'LOST' end

local found = redis.call('XRANGE', queue, entry, entry)[1]
if found then
  -- Lua cannot pass thousands of arguments: an entry of very many fields is kept as one JSON list of them.
  local original = #found[2] <= 1000 and found[2] or { 'fields', cjson.encode(found[2]) }
  redis.call('XADD', rejected, '*', 'reason', reason, 'entry', entry, unpack(original))
  bound(rejected, ARGV[5], ARGV[6], counts, 'rejected_overflow')
end
done(queue, entry)
return 'DONE'
