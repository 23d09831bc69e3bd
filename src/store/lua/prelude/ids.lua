-- The order of entry ids.

-- Whether entry id `a` is larger than `b`; false if one of them is no id.
local function is_after(a, b)
  local a_ms, a_sequence = string.match(a or '', '^(%d+)-(%d+)$')
  local b_ms, b_sequence = string.match(b or '', '^(%d+)-(%d+)$')
  if not a_ms or not b_ms then return false end
  local function is_more(x, y)
    if #x ~= #y then return #x > #y end
    return x > y
  end
  if a_ms ~= b_ms then return is_more(a_ms, b_ms) end
  return is_more(a_sequence, b_sequence)
end
