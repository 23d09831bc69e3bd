-- release: up to n of what a webhook holds -> queue, oldest first, each with the id it was held under; the next release is
-- planned, or none where nothing is left or it is off.
-- KEYS  1 releases  2 webhooks  3 held  4 queue  5 held_bytes
-- ARGV  1 <account>/<webhook>  2 webhook  3 places that its endpoint has free  4 bytes of an envelope for which an attempt
--       takes one  5 most entries  6 most bytes (at least one entry is moved)  7 ms until the next release while more is held
--       8 whether places became free: then it is made although it is not due, if one is planned (1|0)
-- Answers [how many moved, ms until the next release (-1: none; 0: it is due again, for more is held and places are left),
-- 1 if more is held else 0 (nothing where it was not due, and so was not made), places that what moved takes].
local releases, webhooks, held, queue, sums = unpack(KEYS)
local member, webhook, now = ARGV[1], ARGV[2], now_ms()
local due = redis.call('ZSCORE', releases, member)
if not due then return { 0, -1, false, 0 } end
if tonumber(due) > now and ARGV[8] == '0' then return { 0, math.min(due - now, 3600000), false, 0 } end
local settings = redis.pcall('HGET', webhooks, webhook)
-- What lies there for a webhook that is gone, its visit drops, in its time: somebody may be about to write the settings back.
if not settings or settings.err or not is_active(webhook, settings) then
  redis.call('ZREM', releases, member)
  return { 0, -1, 0, 0 }
end

local waiting = redis.pcall('XLEN', held)
if type(waiting) ~= 'number' then waiting = 0 end
local room, place_bytes, moved, bytes, places = tonumber(ARGV[3]), tonumber(ARGV[4]), 0, 0, 0
while waiting > 0 and places < room and moved < tonumber(ARGV[5]) do
  local first = redis.call('XRANGE', held, '-', '+', 'COUNT', 1)[1]
  local size = #first[2][2]
  if moved > 0 and bytes + size > tonumber(ARGV[6]) then break end
  -- Under its own name: the worker that takes what is no delivery says so.
  redis.call('XADD', queue, '*', first[2][1], first[2][2], 'held', first[1])
  redis.call('XDEL', held, first[1])
  moved, waiting, bytes = moved + 1, waiting - 1, bytes + size
  local envelope_bytes = size - (string.find(first[2][2], '\n', 1, true) or 0)
  places = places + math.max(1, math.ceil(envelope_bytes / place_bytes))
end

-- Guarded: what moved has moved, though somebody spoiled the key of the sums.
local sum = moved > 0 and tonumber(redis.pcall('HGET', sums, webhook))
if waiting == 0 then
  if moved > 0 then redis.call('DEL', held) end
  redis.pcall('HDEL', sums, webhook)
  redis.call('ZREM', releases, member)
  return { moved, -1, 0, places }
end
if sum then redis.pcall('HSET', sums, webhook, string.format('%.0f', math.max(0, sum - bytes))) end
local wait_ms = places < room and 0 or tonumber(ARGV[7])
redis.call('ZADD', releases, now + wait_ms, member)
return { moved, wait_ms, 1, places }
