-- list kept: reads a page of a webhook's held or failed deliveries, without their envelopes. Changes nothing.
-- KEYS  1 held | failed
-- ARGV  1 from which entry id (as XRANGE takes it)  2 up to which  3 whether the newest come first (1|0)  4 most entries
--       5 most bytes to read (at least one entry is read)
-- Answers [entries of the key, id of the oldest ('': none), 1 if more follow the page else 0, list of [entry id, delivery
-- line, log entry ('': none), bytes of the envelope]].
local key, first, last, newest_first, bytes, page, more = KEYS[1], ARGV[1], ARGV[2], ARGV[3] == '1', 0, {}, 0
while true do
  local found
  if newest_first then
    found = redis.call('XREVRANGE', key, last, first, 'COUNT', 1)[1]
  else
    found = redis.call('XRANGE', key, first, last, 'COUNT', 1)[1]
  end
  if not found then break end
  local delivery = found[2][2]
  if #page >= tonumber(ARGV[4]) or (#page > 0 and bytes + #delivery > tonumber(ARGV[5])) then
    more = 1
    break
  end
  local log = found[2][3] == 'log' and found[2][4] or ''
  local line = string.match(delivery, '^[^\n]*')
  page[#page + 1] = { found[1], line, log, math.max(0, #delivery - #line - 1) }
  bytes = bytes + #delivery
  if newest_first then last = '(' .. found[1] else first = '(' .. found[1] end
end
local oldest = redis.call('XRANGE', key, '-', '+', 'COUNT', 1)[1]
return { redis.call('XLEN', key), oldest and oldest[1] or '', more, page }
