-- The fence: only the consumer that has the lease on an entry, under its present delivery count, may move it.

-- Whether `consumer` has the lease on `entry` under exactly this delivery count. If the group is gone, no consumer has
-- a lease.
local function owns(queue, entry, consumer, deliveries)
  local pending = redis.pcall('XPENDING', queue, 'workers', entry, entry, '1')
  local lease = not pending.err and pending[1]
  return lease and lease[2] == consumer and lease[4] == tonumber(deliveries)
end

-- Like `owns`, for many entries, most of which lie between `first` and `last`: answers a function of entry and delivery
-- count. It looks at all leases of `consumer` between the two at once, up to twice the number `entries`, because
-- entries that are settled together were mostly taken together. It looks at other entries one by one.
local function owner_of(queue, consumer, first, last, entries)
  local counts = {}
  local pending = redis.pcall('XPENDING', queue, 'workers', first, last, string.format('%d', entries * 2), consumer)
  if pending.err then pending = {} end
  for _, lease in ipairs(pending) do counts[lease[1]] = lease[4] end
  return function(entry, deliveries)
    if counts[entry] then return counts[entry] == tonumber(deliveries) end
    return owns(queue, entry, consumer, deliveries)
  end
end
