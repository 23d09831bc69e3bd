-- visit: looks after a webhook whose visit is due: held, failed and log are trimmed by age, and held by bytes while the webhook
-- is off; if it is on and holds anything, its release is planned; the next visit is set, or none where nothing is left. Where its
-- settings are gone, all else of it goes. A key that somebody spoiled does not keep the others from being looked after.
-- KEYS  1 webhooks  2 logs  3 held  4 failed  5 visits  6 releases  7 counts  8 held_bytes
-- ARGV  1 webhook  2 <account>/<webhook>  3 held retention in ms  4 failed retention in ms  5 oldest log time to keep (RFC 3339)
--       6 held limit (bytes)
-- Answers VISITED; AGAIN (the same, and it is due again at once, for more has to go); or where it was not visited: NOT_DUE (another
-- worker made it), GONE (there are no settings: all of it went).
local webhooks, logs, held, failed, visits, releases, counts, sums = unpack(KEYS)
local webhook, member, max_bytes, now = ARGV[1], ARGV[2], tonumber(ARGV[6]), now_ms()
local due = redis.call('ZSCORE', visits, member)
if not due or tonumber(due) > now then return 'NOT_DUE' end
local settings = redis.pcall('HGET', webhooks, webhook)

-- Whether what is kept of a webhook names another account: then somebody wrote a wrong member.
local function is_anothers(key)
  local found = redis.pcall('XRANGE', key, '-', '+', 'COUNT', '1')
  local line = not found.err and found[1] and string.match(found[1][2][2], '^[^\n]*')
  local readable, delivery = pcall(cjson.decode, line or '')
  if not readable or type(delivery) ~= 'table' or type(delivery.account) ~= 'string' then return false end
  return delivery.account .. '/' .. webhook ~= member
end
if not settings and (is_anothers(held) or is_anothers(failed)) then
  redis.call('ZREM', visits, member)
  return 'VISITED'
elseif not settings then
  drop_webhook(webhook, member, unpack(KEYS, 2))
  return 'GONE'
end
-- Of settings that cannot be read it is not known whether the webhook is on.
local active = not settings.err and is_active(webhook, settings)
local waiting, more_held = drop_old(held, now - ARGV[3], counts, 'held_expired')
local kept, more_failed = drop_old(failed, now - ARGV[4], counts, 'failed_expired')
local again = more_held or more_failed

-- The bytes of what is held, as the first so many nodes weigh: an entry of several KB has a node of its own, and smaller ones
-- share one.
local function weigh_held(nodes) return redis.call('MEMORY', 'USAGE', held, 'SAMPLES', string.format('%d', nodes)) end

-- Drops the oldest until `excess` bytes are free, but never the newest. They go unread, for to read 6 KB takes 10 µs: in steps
-- of which the nodes that they have at most weigh no more than is still to go, or of one entry.
local function free(excess)
  local function count_nodes() return redis.call('XINFO', 'STREAM', held)[4] end
  local nodes, before = count_nodes(), waiting
  for _ = 1, 16 do
    if excess <= 0 or waiting == 1 then break end
    local n, bytes = 256, 0
    while true do
      bytes = weigh_held(n) * n / math.max(1, nodes - 1)
      if n == 1 or bytes <= excess then break end
      n = n / 2
    end
    n = math.min(n, waiting - 1)
    redis.call('XTRIM', held, 'MAXLEN', '=', waiting - n)
    -- Small ones share nodes. To count those reads the first entry and the last, so that it is not done for large ones.
    local gone = bytes / n < 8192 and waiting > 2 * nodes and nodes - count_nodes() or n
    excess, waiting, nodes = excess - bytes * gone / n, waiting - n, nodes - gone
  end
  count(counts, 'held_overflow', before - waiting)
end

-- The running sum of bytes that are held is weighed anew where it is missing, makes no sense or reaches the limit: by 10,000
-- nodes, which takes 0.5 ms. Then, while the webhook is off, the oldest go until a sixteenth is free, so that the next ones need
-- not be weighed; 16 MiB of them at most, as a script should not take long.
local noted = redis.pcall('HGET', sums, webhook)
local sum = tonumber(noted)
if waiting == 0 then
  if noted then redis.pcall('HDEL', sums, webhook) end
elseif not (sum and sum >= 0 and sum < max_bytes) then
  sum = weigh_held(10000)
  if sum >= max_bytes and not active then
    free(math.min(sum - max_bytes * 15 / 16, 16777216))
    sum = weigh_held(10000)
    again = again or sum >= max_bytes and waiting > 1
  end
  redis.pcall('HSET', sums, webhook, string.format('%.0f', sum))
end
if active and waiting > 0 then pcall(come_by, releases, member, now) end

-- The oldest log entry is young enough, or goes; so does what is no log entry.
local function log_left()
  for _ = 1, 100 do
    local oldest = redis.pcall('LINDEX', logs, -1)
    if type(oldest) ~= 'string' then return false end
    local ok, entry = pcall(cjson.decode, oldest)
    if ok and type(entry) == 'table' and type(entry.time) == 'string' and entry.time >= ARGV[5] then return true end
    redis.call('RPOP', logs)
  end
  -- A log has 50 entries, unless somebody wrote it.
  again = true
  return true
end

if log_left() or waiting + kept > 0 then
  redis.call('ZADD', visits, again and 0 or at_rest(now, member), member)
else
  redis.call('ZREM', visits, member)
end
return again and 'AGAIN' or 'VISITED'
