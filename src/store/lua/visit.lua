-- visit: looks after a webhook whose visit is due: held, failed and log are trimmed by age, and held by bytes while the
-- webhook is off; if it is active, up to n of held -> queue, oldest first, each with the id it was held under; the next visit
-- is set, or none where nothing is left. A key that somebody spoiled does not keep the others from being looked after.
-- KEYS  1 visits  2 webhooks  3 held  4 failed  5 logs  6 queue  7 counts  8 held_bytes
-- ARGV  1 <account>/<webhook>  2 webhook  3 places that its endpoint has free  4 bytes of an envelope for which an attempt
--       takes one  5 most entries  6 most bytes (at least one entry is moved)  7 ms until the next visit while more is held
--       8 held retention in ms  9 failed retention in ms  10 oldest log time to keep (RFC 3339)  11 held limit (bytes)
--       12 whether places became free: then it is visited although its visit is not due, if one is planned (1|0)
-- Answers [how many moved, ms until the next visit (-1: none; 0: it is due again, for more is held and places are left),
-- 1 if it is on and more is held, else 0 (nothing where the visit is not due, and so was not made), places that what moved
-- takes].
local visits, webhooks, held, failed, logs, queue, counts, sums = unpack(KEYS, 1, 8)
local member, webhook, max_bytes, now = ARGV[1], ARGV[2], tonumber(ARGV[11]), now_ms()
local due = redis.call('ZSCORE', visits, member)
if not due or (tonumber(due) > now and ARGV[12] == '0') then return { 0, due and due - now or -1, false, 0 } end
local settings = redis.call('HGET', webhooks, webhook)
if not settings then
  redis.call('ZREM', visits, member)
  return { 0, -1, 0, 0 }
end

-- What is left of a stream when the entries past their retention are gone; nothing of what is no stream.
local function trimmed(key, retention_ms, cause)
  local entries = redis.pcall('XLEN', key)
  if type(entries) ~= 'number' then return 0 end
  local dropped = redis.call('XTRIM', key, 'MINID', '=', string.format('%.0f', now - retention_ms))
  count(counts, cause, dropped)
  return entries - dropped
end
local waiting, kept = trimmed(held, ARGV[8], 'held_expired'), trimmed(failed, ARGV[9], 'failed_expired')

local active, moved, bytes = is_active(webhook, settings), 0, 0
-- The running sum of bytes that are held. It is weighed anew where it is missing, makes no sense or reaches the limit; while
-- the webhook is on, with planned visits only, for those that follow free places are many.
local noted = redis.pcall('HGET', sums, webhook)
local sum = tonumber(noted)
local is_sound = sum and sum >= 0 and sum < max_bytes
if active and sum and sum >= max_bytes then is_sound = ARGV[12] == '1' end
if waiting > 0 and not is_sound then
  sum = redis.call('MEMORY', 'USAGE', held, 'SAMPLES', 0)
  -- While it is off, the oldest go until a sixteenth is free, so that the next ones need not be weighed. They go unread, in
  -- steps that double, each no larger than their average weight says: 1023 at most, which takes some 5 ms.
  local least, step = sum >= max_bytes and max_bytes * 15 / 16 or math.huge, 1
  while not active and sum > least and waiting > 1 and step <= 512 do
    local left = waiting - math.min(step, math.ceil((sum - least) * waiting / sum), waiting - 1)
    count(counts, 'held_overflow', redis.call('XTRIM', held, 'MAXLEN', '=', left))
    waiting, step, sum = left, step * 2, redis.call('MEMORY', 'USAGE', held, 'SAMPLES', 0)
  end
end

local room, place_bytes, places = tonumber(ARGV[3]), tonumber(ARGV[4]), 0
while active and waiting > 0 and places < room and moved < tonumber(ARGV[5]) do
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

-- The oldest log entry is young enough, or goes; so does what is no log entry.
local function log_left()
  local oldest = redis.pcall('LINDEX', logs, -1)
  while type(oldest) == 'string' do
    local ok, entry = pcall(cjson.decode, oldest)
    if ok and type(entry) == 'table' and type(entry.time) == 'string' and entry.time >= ARGV[10] then return true end
    redis.call('RPOP', logs)
    oldest = redis.call('LINDEX', logs, -1)
  end
  return false
end

local wait_ms = -1
if log_left() or waiting + kept > 0 then
  wait_ms = 3600000
  if active and waiting > 0 then wait_ms = places < room and 0 or tonumber(ARGV[7]) end
  if not active and waiting > 1 and sum >= max_bytes then wait_ms = 0 end
end
-- Guarded: what moved has moved, though somebody spoiled the key of the sums.
local new_sum = waiting > 0 and string.format('%.0f', sum - bytes)
if new_sum and new_sum ~= noted then redis.pcall('HSET', sums, webhook, new_sum) end
if noted and not new_sum then redis.pcall('HDEL', sums, webhook) end
for key, left in pairs({ [held] = waiting, [failed] = kept }) do
  if left == 0 and redis.call('TYPE', key).ok == 'stream' then redis.call('DEL', key) end
end
if wait_ms < 0 then redis.call('ZREM', visits, member) else redis.call('ZADD', visits, now + wait_ms, member) end
return { moved, wait_ms, active and waiting > 0 and 1 or 0, places }
