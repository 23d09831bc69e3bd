-- requeue rejected: entries of `rejected`, oldest first -> queue, as new entries with their own fields in order. An
-- entry stays where it is if its own fields cannot be restored.
-- KEYS  1 rejected  2 queue
-- ARGV  1 first id, or ( and the id before it  2 last id  3 most entries  4 most bytes (at least one entry)
-- Answers [entries moved, entries that stayed, where to continue (as ARGV 1; '' after the last)].
local rejected, queue, from, last = KEYS[1], KEYS[2], ARGV[1], ARGV[2]
local moved, stayed, bytes = 0, 0, 0

-- The fields that `reject` kept as one JSON list, because they had more than 1000 texts. Lua can pass up to 7000.
local function unlisted(text)
  local ok, list = pcall(cjson.decode, text)
  if not ok or type(list) ~= 'table' or #list <= 1000 or #list % 2 == 1 then return nil end
  for _, item in ipairs(list) do
    if type(item) ~= 'string' then return nil end
  end
  return list
end

-- The entry's own fields: those after `reason` and `entry`.
local function original(found)
  if #found < 6 or #found > 1004 or found[1] ~= 'reason' or found[3] ~= 'entry' then return nil end
  local own = { unpack(found, 5) }
  if #own == 2 and own[1] == 'fields' then own = unlisted(own[2]) or own end
  return #own <= 7000 and own or nil
end

while moved + stayed < tonumber(ARGV[3]) do
  local found = redis.call('XRANGE', rejected, from, last, 'COUNT', 1)[1]
  if not found then
    from = ''
    break
  end
  for _, text in ipairs(found[2]) do bytes = bytes + #text end
  if moved + stayed > 0 and bytes > tonumber(ARGV[4]) then break end
  local own = original(found[2])
  if own then
    redis.call('XADD', queue, '*', unpack(own))
    redis.call('XDEL', rejected, found[1])
    moved = moved + 1
  else
    stayed = stayed + 1
  end
  from = '(' .. found[1]
end
if redis.call('XLEN', rejected) == 0 then redis.call('DEL', rejected) end
return { moved, stayed, from }
