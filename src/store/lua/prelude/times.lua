-- Sorted sets of webhooks by time: `visits` says when each is visited, `releases` when its held deliveries are
-- released. `hold`, `settle`, `log` and `visit` plan visits, `mend_times` brings them back, and `visit` and
-- `delete_webhook` remove them. Outside the scripts, a worker only puts off a visit that it cannot make, and removes a
-- member that names no webhook.

-- Plans a webhook's visit or release for `at_ms`, unless it is planned sooner.
local function come_by(times, member, at_ms) return redis.call('ZADD', times, 'LT', at_ms, member) end

-- The time of the next visit to a webhook that needs nothing now: in 30 to 55 minutes. The time depends on the name, so
-- that webhooks that are visited together now are apart the next time. No other place has this rule.
local function at_rest(now, member)
  local share = tonumber(string.sub(redis.sha1hex(member), 1, 4), 16) / 65536
  return math.floor(now + (30 + 25 * share) * 60000)
end
