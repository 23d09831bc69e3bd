-- Delivery logs.

-- Adds entries to a log, the oldest first, and drops entries after the index `last`. `push` is LPUSH, or LPUSHX, which
-- does not create a log. Answers the log's length, or nil after an error. Guarded: Lua never rolls back, so a log key
-- of a wrong type must not stop a move half-way. `last` is text; otherwise Lua would convert it for each log.
local function add_to_log(push, key, last, ...)
  local length = redis.pcall(push, key, ...)
  if type(length) ~= 'number' then return nil end
  if length > last + 1 then redis.call('LTRIM', key, '0', last) end
  return length
end

-- Drops from a log's end the entries that are older than `oldest` (RFC 3339), or are no log entries. Answers whether
-- any entry is left, and whether more may have to go: only a log that somebody else wrote can have over 100 such
-- entries.
local function drop_old_log(key, oldest)
  for _ = 1, 100 do
    local last = redis.pcall('LINDEX', key, -1)
    if type(last) ~= 'string' then return false, false end
    local ok, entry = pcall(cjson.decode, last)
    if ok and type(entry) == 'table' and type(entry.time) == 'string' and entry.time >= oldest then return true, false end
    redis.call('RPOP', key)
  end
  return true, true
end
