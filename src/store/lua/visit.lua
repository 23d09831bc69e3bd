-- visit: looks after a webhook whose visit is due: held, failed and log are trimmed by age; if it is active, up to n of
-- held -> queue, oldest first; the next visit is set, or none where nothing is left.
-- KEYS  1 visits  2 webhooks  3 held  4 failed  5 logs  6 queue  7 counts
-- ARGV  1 <account>/<webhook>  2 webhook  3 most entries  4 most bytes  5 pace in ms
--       6 held retention in ms  7 failed retention in ms  8 oldest log time to keep (RFC 3339)
-- Answers [how many moved, ms until the next visit (-1: none)].
local visits, webhooks, held, failed, logs, queue, counts = unpack(KEYS, 1, 7)
local member, webhook, now = ARGV[1], ARGV[2], now_ms()
local due = redis.call('ZSCORE', visits, member)
if not due or tonumber(due) > now then return { 0, due and due - now or -1 } end
local settings = redis.call('HGET', webhooks, webhook)
if not settings then
  redis.call('ZREM', visits, member)
  return { 0, -1 }
end

local function trim(key, retention_ms, cause)
  local dropped = redis.call('XTRIM', key, 'MINID', '=', string.format('%.0f', now - retention_ms))
  if dropped > 0 then redis.call('HINCRBY', counts, cause, dropped) end
end
trim(held, ARGV[6], 'held_expired')
trim(failed, ARGV[7], 'failed_expired')
local oldest = redis.call('LINDEX', logs, -1)
while oldest and cjson.decode(oldest).time < ARGV[8] do
  redis.call('RPOP', logs)
  oldest = redis.call('LINDEX', logs, -1)
end

local moved, bytes = 0, 0
if cjson.decode(settings).active then
  while moved < tonumber(ARGV[3]) and bytes < tonumber(ARGV[4]) do
    local first = redis.call('XRANGE', held, '-', '+', 'COUNT', 1)[1]
    if not first then break end
    redis.call('XADD', queue, '*', 'delivery', first[2][2])
    redis.call('XDEL', held, first[1])
    moved, bytes = moved + 1, bytes + #first[2][2]
  end
end

local waiting = redis.call('XLEN', held)
local wait_ms = -1
if moved > 0 and waiting > 0 then
  wait_ms = tonumber(ARGV[5])
elseif waiting > 0 or oldest or redis.call('XLEN', failed) > 0 then
  wait_ms = 3600000
end
for _, key in ipairs({ held, failed }) do
  if redis.call('XLEN', key) == 0 then redis.call('DEL', key) end
end
if wait_ms < 0 then redis.call('ZREM', visits, member) else redis.call('ZADD', visits, now + wait_ms, member) end
return { moved, wait_ms }
