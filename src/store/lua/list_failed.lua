-- list failed: reads a page of a webhook's failed deliveries, newest first, without their envelopes. Changes nothing.
-- KEYS  1 failed
-- ARGV  1 where to begin, going back (+: at the newest; (<entry id>: at the one before)  2 most entries
--       3 most bytes to read (at least one entry is read)
-- Answers a list of [entry id, delivery line, log entry, bytes of the envelope]; an empty list after the last page.
local failed, from, bytes, page = KEYS[1], ARGV[1], 0, {}
while #page < tonumber(ARGV[2]) do
  local found = redis.call('XREVRANGE', failed, from, '-', 'COUNT', 1)[1]
  local delivery = found and found[2][2]
  if not found or (#page > 0 and bytes + #delivery > tonumber(ARGV[3])) then break end
  -- '' if `settle` did not write the entry.
  local log = found[2][3] == 'log' and found[2][4] or ''
  local line = string.match(delivery, '^[^\n]*')
  page[#page + 1] = { found[1], line, log, math.max(0, #delivery - #line - 1) }
  from, bytes = '(' .. found[1], bytes + #delivery
end
return page
