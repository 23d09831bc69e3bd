-- take back: entries of a read or a claim whose answer `consumer` never got -> leased by it again, with the same
-- delivery count. Only the answer was lost, not the worker, so this does not count as a loss.
-- KEYS  1 queue  2 counts
-- ARGV  1 consumer  2 where to begin, as XPENDING takes it: after the last entry that `consumer` was told of  3 most
--       entries
--       4 most bytes (the last entry may exceed it)  5 ms since the claim was sent (0: it was a read)
--       then, for a claim, the entries that `consumer` has in hand
-- Answers a list of [entry id, delivery count, [field, value, …]].
local queue, consumer, from, most, bytes = KEYS[1], ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local claimed_ms, in_hand, taken, pages = tonumber(ARGV[5]), {}, {}, 0
for i = 6, #ARGV do in_hand[ARGV[i]] = true end
-- After a read, an entry that was lost before is left to a claim, because it may have to be attempted apart from
-- others. An entry with the count 0 has no lease, and waits for a claim.
local function is_untold(pending)
  if claimed_ms == 0 then return pending[4] == 1 end
  return pending[4] > 1 and pending[3] <= claimed_ms and not in_hand[pending[1]]
end

repeat
  local page = redis.call('XPENDING', queue, 'workers', from, '+', 100, consumer)
  for _, pending in ipairs(page) do
    if #taken >= most or bytes <= 0 then return taken end
    if is_untold(pending) then
      local entry = redis.call('XCLAIM', queue, 'workers', consumer, 0, pending[1], 'RETRYCOUNT', pending[4])[1]
      if entry then
        taken[#taken + 1] = { entry[1], pending[4], entry[2] }
        for _, text in ipairs(entry[2]) do bytes = bytes - #text end
      else
        count(KEYS[2], 'entries_trimmed', 1)
      end
    end
    from = '(' .. pending[1]
  end
  pages = pages + 1
until #page < 100 or pages == 50
return taken
