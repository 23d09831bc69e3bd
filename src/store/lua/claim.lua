-- claim: entries whose worker died (idle over the lease) -> pending with `consumer`, counted up.
-- An entry that was claimed before is a suspect: its worker may have died of it. Suspects are taken only as far as
-- there is room for them, so that a neighbour is not blamed for another's poison.
-- KEYS  1 queue  2 counts
-- ARGV  1 consumer  2 lease in ms  3 room (entries)  4 room for suspects (entries)  5 most bytes
--       6 the latest that the clock may show, Unix ms: beyond, it stepped forward, and leases only seem to have ended
--       then the webhooks of deliveries and accounts of events whose suspects took long: another's suspect goes first, if there is
--       one among the first 100 and within the most bytes
-- Answers a list of [entry id, delivery count, [field, value, …]].
local queue, counts, consumer, lease_ms = KEYS[1], KEYS[2], ARGV[1], tonumber(ARGV[2])
local room, suspects, bytes = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local claimed, from, pages, slow, looked, unread, behind = {}, '-', 0, {}, 0, bytes, nil
if now_ms() > tonumber(ARGV[6]) then return claimed end
for i = 7, #ARGV do slow[ARGV[i]] = true end

local function take(pending)
  local entry, deliveries = pending[1], pending[4]
  -- Answers nothing for an entry that somebody took out of the queue, and forgets that it was pending.
  local taken = redis.call('XCLAIM', queue, 'workers', consumer, lease_ms, entry)[1]
  if not taken then return count(counts, 'entries_trimmed', 1) end
  claimed[#claimed + 1] = { entry, deliveries + 1, taken[2] }
  if deliveries > 1 then suspects = suspects - 1 end
  for _, text in ipairs(taken[2]) do bytes = bytes - #text end
end

local function is_slow(entry)
  local found = fields(queue, entry) or {}
  looked, unread = looked + 1, unread - #(found.delivery or found.envelope or '')
  local readable, delivery = pcall(cjson.decode, string.match(found.delivery or '', '^[^\n]*'))
  return slow[readable and type(delivery) == 'table' and delivery.webhook or found.account or '']
end

repeat
  local page = redis.call('XPENDING', queue, 'workers', 'IDLE', lease_ms, from, '+', 100)
  for _, pending in ipairs(page) do
    if #claimed >= room or bytes <= 0 then return claimed end
    if pending[4] <= 1 then
      -- A place stays for the suspect that may go last.
      if not (behind and suspects > 0) or #claimed + 1 < room then take(pending) end
    elseif suspects > 0 and looked < 100 and unread > 0 then
      if #ARGV > 6 and is_slow(pending[1]) then behind = behind or pending else take(pending) end
    end
    from = '(' .. pending[1]
  end
  pages = pages + 1
until #page < 100 or pages == 50
if behind and suspects > 0 and #claimed < room then take(behind) end
return claimed
