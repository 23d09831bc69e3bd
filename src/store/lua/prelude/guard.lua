-- A guard for steps of several deliveries: an error of one must not hold up the others.

-- The answer of a step, or the text of the error that it raised.
local function guarded(step, ...)
  local ok, answer = pcall(step, ...)
  return ok and answer or (type(answer) == 'table' and answer.err or tostring(answer))
end
