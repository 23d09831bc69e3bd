-- reject (leased): an entry -> rejected, with the reason before its own fields. An event keeps the id under which it
-- may have been sent.
-- KEYS  1 queue  2 rejected  3 counts
-- ARGV  1 consumer  2 entry id  3 delivery count  4 reason  5 rejected limit (entries)  6 rejected limit (bytes)
--       7 the event's id ('': it is no event)
-- Answers DONE, or LOST (another consumer has the lease).
local queue, rejected, counts = KEYS[1], KEYS[2], KEYS[3]
local consumer, entry, deliveries, reason = unpack(ARGV, 1, 4)
local event_id = ARGV[7]
if not owns(queue, entry, consumer, deliveries) then return 'LOST' end

local found = redis.call('XRANGE', queue, entry, entry)[1]
if found then
  local own = found[2]
  if event_id ~= '' and not fields(queue, entry).id then own[#own + 1], own[#own + 2] = 'id', event_id end
  -- Lua cannot pass thousands of arguments, so an entry with very many fields is kept as one field with a JSON list.
  local original = #own <= 1000 and own or { 'fields', cjson.encode(own) }
  redis.call('XADD', rejected, '*', 'reason', reason, 'entry', entry, unpack(original))
  local bytes = 0
  for _, text in ipairs(own) do bytes = bytes + #text end
  count(counts, 'rejected_overflow', bound(rejected, ARGV[5], tonumber(ARGV[6]), bytes))
end
done(queue, counts, entry)
return 'DONE'
