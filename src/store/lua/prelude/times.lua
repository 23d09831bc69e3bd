-- Sorted sets of webhooks by time: when each is visited, and when its held deliveries are released.

-- Plans a webhook's visit or release for `at_ms`, unless it is planned sooner.
local function come_by(times, member, at_ms) return redis.call('ZADD', times, 'LT', at_ms, member) end

-- The time of the next visit to a webhook that needs nothing now: in 30 to 55 minutes. The name decides which, so that
-- webhooks that are visited together now are not together again. This rule stands here alone.
local function at_rest(now, member)
  local share = tonumber(string.sub(redis.sha1hex(member), 1, 4), 16) / 65536
  return math.floor(now + (30 + 25 * share) * 60000)
end
