-- list failed: a page of a webhook's failed deliveries, newest first, without their envelopes. Changes nothing.
-- KEYS  1 failed
-- ARGV  1 where to begin, going back (+: at the newest; (<entry id>: at the one before)  2 most entries
--       3 most bytes looked at (at least one entry)
-- Answers a list of [entry id, delivery line, log entry, bytes of the envelope]; an empty one: there are no more.
local failed, from, bytes, page = KEYS[1], ARGV[1], 0, {}
while #page < tonumber(ARGV[2]) and bytes < tonumber(ARGV[3]) do
  local found = redis.call('XREVRANGE', failed, from, '-', 'COUNT', 1)[1]
  if not found then break end
  local _, delivery, _, log = unpack(found[2])
  local line = string.match(delivery, '^[^\n]*')
  page[#page + 1] = { found[1], line, log, math.max(0, #delivery - #line - 1) }
  from, bytes = '(' .. found[1], bytes + #delivery
end
return page
