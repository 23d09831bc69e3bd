-- claim: entries that were idle for longer than the lease, because their worker died -> leased by `consumer`, with the
-- delivery count raised by 1. An entry with a count over 1 was claimed before and lost again. It is a suspect: its
-- worker may have died of it. The script takes only as many suspects as there is room for, so that no entry is blamed
-- for a neighbour's poison.
-- KEYS  1 queue  2 counts
-- ARGV  1 consumer  2 lease in ms  3 room (entries)  4 room for suspects (entries)  5 most bytes
--       6 the latest time that the clock may show, in Unix ms: a later time means that it stepped forward, so leases
--       only seem to have ended, and nothing is claimed
--       7 where to begin among the suspects, as XPENDING takes it  8 number of names whose suspects stay where they are
--       then those names, and after them, in order, the names whose suspects are taken only if there is no other. A
--       name is the webhook of a delivery or the account of an event.
-- Answers [a list of [entry id, delivery count, [field, value, …]], where to continue among the suspects ('-' after the
-- last)]. If names are given, the script reads at most 100 suspects, within the most bytes.
local queue, counts, consumer, lease_ms = KEYS[1], KEYS[2], ARGV[1], tonumber(ARGV[2])
local room, suspects, bytes = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local claimed, ranks, looked, unread, any, behind, behind_rank = {}, {}, 0, bytes, false, nil, #ARGV + 1
if now_ms() > tonumber(ARGV[6]) then return { claimed, '-' } end
for i = #ARGV, 9, -1 do ranks[ARGV[i]] = i end

local function take(pending)
  local entry, deliveries = pending[1], pending[4]
  -- If somebody took the entry out of the queue, XCLAIM answers nothing and removes it from the pending list.
  local taken = redis.call('XCLAIM', queue, 'workers', consumer, lease_ms, entry)[1]
  if not taken then return count(counts, 'entries_trimmed', 1) end
  claimed[#claimed + 1] = { entry, deliveries + 1, taken[2] }
  if deliveries > 1 then suspects = suspects - 1 end
  for _, text in ipairs(taken[2]) do bytes = bytes - #text end
end

local function rank_of(entry)
  local found = fields(queue, entry) or {}
  looked, unread = looked + 1, unread - #(found.delivery or found.envelope or '')
  local readable, delivery = pcall(cjson.decode, string.match(found.delivery or '', '^[^\n]*'))
  return ranks[readable and type(delivery) == 'table' and delivery.webhook or found.account or '']
end

-- Calls `look` with idle entries until it answers true; answers the place from which on entries were not looked at.
local function each_idle(from, look)
  for _ = 1, 50 do
    local page = redis.call('XPENDING', queue, 'workers', 'IDLE', lease_ms, from, '+', 100)
    for _, pending in ipairs(page) do
      any = true
      if look(pending) then return from end
      from = '(' .. pending[1]
    end
    if #page < 100 then return '-' end
  end
  return from
end

local function is_full() return #claimed >= room or bytes <= 0 end

local to = each_idle(ARGV[7], function(pending)
  if pending[4] <= 1 then return false end
  if suspects == 0 or is_full() or looked == 100 or unread <= 0 then return true end
  local rank = #ARGV > 8 and rank_of(pending[1])
  if not rank then
    take(pending)
  elseif rank >= 9 + ARGV[8] and rank < behind_rank then
    behind, behind_rank = pending, rank
  end
end)
if behind and suspects > 0 then take(behind) end
if any or ARGV[7] ~= '-' then
  each_idle('-', function(pending)
    if is_full() then return true end
    if pending[4] <= 1 then take(pending) end
  end)
end
return { claimed, to }
