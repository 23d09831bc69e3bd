-- ids: a last id that no other id can follow, and a group position beyond all ids to come -> set back.
-- KEYS  1 queue  2 audit
-- ARGV  1 whether to look only, and change nothing (1|0)
-- Answers nothing if there is no group; else [1 if the last id was the largest possible else 0, 1 if the position was
-- beyond the last id else 0].
local queue, audit, group, largest = KEYS[1], KEYS[2], workers_of(KEYS[1]), '18446744073709551615'
if not group or group.err then return group or false end
local stream = named(redis.call('XINFO', 'STREAM', queue))
local last, position = stream['last-generated-id'], group['last-delivered-id']
local is_largest, is_beyond = last == largest .. '-' .. largest, is_after(position, last)
local answer = { is_largest and 1 or 0, is_beyond and 1 or 0 }
if ARGV[1] == '1' then return answer end

-- All entries with the largest ms, because while one is there, the next entry gets the largest id again. nil if they
-- cannot be moved: from Redis 7.2 on, because an id cannot be set back before one that was deleted; while a worker has
-- one of them in hand; if one has over 1000 texts, which Lua cannot pass (it is no event, and is rejected in its turn);
-- or if they are more than 1000 or have more than 4 MiB. Then they are worked off like any others.
local function movable()
  local entries, bytes, from = {}, 0, largest .. '-0'
  if #redis.call('XPENDING', queue, 'workers', from, '+', 1) > 0 then return nil end
  while true do
    local entry = redis.call('XRANGE', queue, from, '+', 'COUNT', 1)[1]
    if not entry then return entries end
    for _, text in ipairs(entry[2]) do bytes = bytes + #text end
    entries[#entries + 1], from = entry, '(' .. entry[1]
    local is_old = (redis.REDIS_VERSION_NUM or 0) < 0x070200
    if not is_old or #entry[2] > 1000 or #entries > 1000 or bytes > 4194304 then return nil end
    if entry[1] == last then return entries end
  end
end

-- The entries go to the end under new ids. If the last id cannot be set back, an empty queue is created again.
local entries = is_largest and movable()
if entries then
  for _, entry in ipairs(entries) do redis.call('XDEL', queue, entry[1]) end
  local newest = redis.call('XREVRANGE', queue, '+', '-', 'COUNT', 1)[1]
  last = string.format('%.0f-0', now_ms())
  if newest and is_after(newest[1], last) then last = newest[1] end
  local added = stream['entries-added']
  added = added and { 'ENTRIESADDED', added - #entries, 'MAXDELETEDID', last } or {}
  if not redis.pcall('XSETID', queue, last, unpack(added)).err then
    is_beyond = is_after(position, last)
  elseif stream.length == 0 and group.pending == 0 then
    redis.call('DEL', queue)
    redis.call('XGROUP', 'CREATE', queue, 'workers', '0', 'MKSTREAM')
  end
end
if is_beyond then redis.call('XGROUP', 'SETID', queue, 'workers', last) end
if entries then
  for _, entry in ipairs(entries) do redis.call('XADD', queue, '*', unpack(entry[2])) end
  -- The next entry to read may be among them, and Redis may count from the beginning again.
  redis.pcall('HDEL', audit, 'next', 'read', 'added')
end
return answer
