-- Streams within their age. Takes `counts`.

-- Drops and counts the entries of a stream that are older than `min_ms`: at most 1000 (0.5 ms), whole nodes first. Answers
-- how many entries are left, and whether more of them may be too old. A key that is no stream has none left.
local function drop_old(key, min_ms, counts, cause)
  local entries, min = redis.pcall('XLEN', key), string.format('%.0f', min_ms)
  if type(entries) ~= 'number' or entries == 0 then return 0, false end
  local dropped = redis.call('XTRIM', key, 'MINID', '~', min, 'LIMIT', '1000')
  -- A node has 100 entries, or fewer: so many less than the limit mean that no whole node is too old.
  local more = dropped > 900
  if not more then dropped = dropped + redis.call('XTRIM', key, 'MINID', '=', min) end
  count(counts, cause, dropped)
  if dropped == entries then redis.call('DEL', key) end
  return entries - dropped, more
end
