-- overview: reads the attempts and the kept deliveries of webhooks, without any envelope. Changes nothing.
-- KEYS  for each webhook: logs, held, failed
-- ARGV  1 most log entries of a webhook
-- Answers [now in Unix ms, for each webhook: [log entries, newest first; held deliveries; id of the oldest held ('': none);
-- failed deliveries]].
local found = {}
for at = 1, #KEYS, 3 do
  local logs, held, failed = KEYS[at], KEYS[at + 1], KEYS[at + 2]
  local oldest = redis.call('XRANGE', held, '-', '+', 'COUNT', 1)[1]
  found[#found + 1] = {
    redis.call('LRANGE', logs, 0, tonumber(ARGV[1]) - 1),
    redis.call('XLEN', held),
    oldest and oldest[1] or '',
    redis.call('XLEN', failed),
  }
end
return { now_ms(), found }
