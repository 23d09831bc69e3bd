-- The content of an entry.

-- An entry's fields as a table, or nil if the entry is gone.
local function fields(queue, entry)
  local found = redis.call('XRANGE', queue, entry, entry)[1]
  if not found then return nil end
  local by_name = {}
  for i = 1, #found[2], 2 do by_name[found[2][i]] = found[2][i + 1] end
  return by_name
end

-- The envelope of an event or of a delivery. No script looks inside it.
local function envelope(entry)
  return entry.envelope or string.sub(entry.delivery, string.find(entry.delivery, '\n', 1, true) + 1)
end
