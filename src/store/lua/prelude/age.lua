-- Streams within their age. Takes `counts`.

-- Drops and counts the entries of a stream that are older than `min_ms`: about 1000 at most (0.5 ms), whole nodes
-- first. Answers the number of entries left, and whether more of them may be too old. A key that is no stream counts as
-- empty.
local function drop_old(key, min_ms, counts, cause)
  local entries, min = redis.pcall('XLEN', key), string.format('%.0f', min_ms)
  if type(entries) ~= 'number' or entries == 0 then return 0, false end
  local dropped = redis.call('XTRIM', key, 'MINID', '~', min, 'LIMIT', '1000')
  -- A node has at most 100 entries. If at least 100 fewer than the limit were dropped, no other whole node is too old.
  local more = dropped > 900
  if not more then dropped = dropped + redis.call('XTRIM', key, 'MINID', '=', min) end
  count(counts, cause, dropped)
  if dropped == entries then redis.call('DEL', key) end
  return entries - dropped, more
end
