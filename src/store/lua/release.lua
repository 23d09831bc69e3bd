-- release: held deliveries of a webhook -> queue, oldest first, each with the id under which it was held. The script
-- plans the next release, or none if nothing is left or the webhook is off.
-- KEYS  1 releases  2 webhooks  3 held  4 queue  5 held_bytes
-- ARGV  1 <account>/<webhook>  2 webhook  3 free places of its endpoint  4 bytes of an envelope for each place of an
--       attempt
--       5 most entries  6 most bytes (at least one entry is moved)  7 ms until the next release while more is held
--       8 whether places became free: then a planned release is made even if it is not due (1|0)
-- Answers [entries moved, ms until the next release (-1: none; 0: at once, because more is held and places are left), 1
-- if more is held else 0 (nothing if no release was made, because none is due), places that the entries take].
local releases, webhooks, held, queue, sums = unpack(KEYS)
local member, webhook, now = ARGV[1], ARGV[2], now_ms()
local due = redis.call('ZSCORE', releases, member)
if not due then return { 0, -1, false, 0 } end
if tonumber(due) > now and ARGV[8] == '0' then return { 0, math.min(due - now, 3600000), false, 0 } end
local settings = redis.pcall('HGET', webhooks, webhook)
-- If the settings are gone, the deliveries are left to the visit: somebody may be about to restore the settings.
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
  -- Keep the field's own name, so that the worker that takes the entry rejects it if it is no delivery.
  redis.call('XADD', queue, '*', first[2][1], first[2][2], 'held', first[1])
  redis.call('XDEL', held, first[1])
  moved, waiting, bytes = moved + 1, waiting - 1, bytes + size
  local envelope_bytes = size - (string.find(first[2][2], '\n', 1, true) or 0)
  places = places + math.max(1, math.ceil(envelope_bytes / place_bytes))
end

-- Guarded: an error at the sums must not hide that deliveries moved.
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
