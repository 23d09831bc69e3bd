-- portal end: an account's sessions -> gone. If all of them go, so do its links, which would open new ones.
-- KEYS  1 portal
-- ARGV  1 the beginning of the hash of one session's token ('': all sessions)
-- Answers the number of sessions that were alive and are gone.
local portal, which = KEYS[1], ARGV[1]
local now, gone = now_ms(), 0
local entries = redis.call('HGETALL', portal)
for i = 1, #entries, 2 do
  local kind, its_end = kind_and_end(entries[i + 1])
  if kind == 'session' and string.sub(entries[i], 1, #which) == which then
    redis.call('HDEL', portal, entries[i])
    if its_end > now then gone = gone + 1 end
  end
end
if which == '' then redis.call('UNLINK', portal) end
return gone
