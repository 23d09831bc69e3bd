-- Entries on which no worker has a lease, for `audit`.

-- The entries up to `position` that are not pending, after the id `from` ('': from the beginning). One call looks at
-- 500 pending entries, and answers at most 100 others (about 2 ms) or about 1 MiB of them. Answers their ids, and the
-- id to continue after, or nil if it looked at all entries.
local function unleased_entries(queue, from, position)
  local unleased, bytes, behind = {}, 0, from == '' and '-' or '(' .. from
  local function is_full() return #unleased == 100 or bytes >= 1048576 end
  local function look_up_to(last)
    while not is_full() do
      -- Guarded: no id comes after the largest.
      local found = redis.pcall('XRANGE', queue, behind, last, 'COUNT', 1)
      if found.err or not found[1] then return end
      for _, text in ipairs(found[1][2]) do bytes = bytes + #text end
      unleased[#unleased + 1], behind = found[1][1], '(' .. found[1][1]
    end
  end
  local leases = redis.pcall('XPENDING', queue, 'workers', behind, position, 500)
  if leases.err then leases = {} end
  for _, lease in ipairs(leases) do
    look_up_to('(' .. lease[1])
    if is_full() then break end
    behind = '(' .. lease[1]
  end
  if #leases < 500 then look_up_to(position) end
  return unleased, (#leases == 500 or is_full()) and string.sub(behind, 2) or nil
end

-- Makes entries pending with `consumer`, idle for a whole lease, with the delivery count 0, so that the claim makes it
-- 1.
local function hand_out(queue, audit, consumer, lease_ms, unleased)
  local words = { unpack(unleased) }
  for _, word in ipairs({ 'IDLE', lease_ms, 'RETRYCOUNT', 0, 'FORCE', 'JUSTID' }) do words[#words + 1] = word end
  redis.call('XCLAIM', queue, 'workers', consumer, 0, unpack(words))
  redis.pcall('HSET', audit, 'handed_out', now_ms(), 'handed_out_to', unleased[#unleased])
end
