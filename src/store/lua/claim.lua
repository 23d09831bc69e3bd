-- claim: entries whose worker died (idle over the lease) -> pending with `consumer`, counted up.
-- An entry that was claimed before is a suspect: its worker may have died of it. Suspects are taken only as far as
-- there is room for them, so that a neighbour is not blamed for another's poison.
-- KEYS  1 queue  2 counts
-- ARGV  1 consumer  2 lease in ms  3 room (entries)  4 room for suspects (entries)  5 most bytes
--       6 the latest that the clock may show, Unix ms: beyond, it stepped forward, and leases only seem to have ended
-- Answers a list of [entry id, delivery count, [field, value, …]].
local queue, counts, consumer, lease_ms = KEYS[1], KEYS[2], ARGV[1], tonumber(ARGV[2])
local room, suspects, bytes = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local claimed, from, pages = {}, '-', 0
if now_ms() > tonumber(ARGV[6]) then return claimed end

repeat
  local page = redis.call('XPENDING', queue, 'workers', 'IDLE', lease_ms, from, '+', 100)
  for _, pending in ipairs(page) do
    if #claimed >= room or bytes <= 0 then return claimed end
    local entry, deliveries = pending[1], pending[4]
    if deliveries <= 1 or suspects > 0 then
      -- Answers nothing for an entry that somebody took out of the queue, and forgets that it was pending.
      local taken = redis.call('XCLAIM', queue, 'workers', consumer, lease_ms, entry)[1]
      if taken then
        claimed[#claimed + 1] = { entry, deliveries + 1, taken[2] }
        if deliveries > 1 then suspects = suspects - 1 end
        for _, text in ipairs(taken[2]) do bytes = bytes - #text end
      else
        count(counts, 'entries_trimmed', 1)
      end
    end
    from = '(' .. entry
  end
  pages = pages + 1
until #page < 100 or pages == 50
return claimed
