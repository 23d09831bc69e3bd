-- Entries that are gone although no step removed them. Takes `clock` and `ids`.

-- Whether an entry that a worker has in hand vanished: it is neither in the queue nor pending, and no other worker had
-- and settled it, as far as `audit` can tell. If the worker itself may have settled the entry, it vanished only if
-- there is no group, or if the group was created again within the last minute and the entry was gone by then.
local function is_vanished(queue, audit, entry, may_be_settled)
  local pending = redis.pcall('XPENDING', queue, 'workers', entry, entry, '1')
  local found = redis.pcall('XRANGE', queue, entry, entry)
  if found.err or found[1] or pending[1] then return false end
  local told = redis.pcall('HMGET', audit, 'leases_lost', 'lost_before', 'handed_out', 'handed_out_to')
  local function lately(at) return now_ms() - (tonumber(at) or 0) < 60000 end
  if pending.err then return true end
  if lately(told[1]) then return is_after(told[2] or '', entry) end
  return not may_be_settled and not (lately(told[3]) and not is_after(entry, told[4] or ''))
end
