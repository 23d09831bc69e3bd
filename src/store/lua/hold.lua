-- hold (leased, several at once): an entry -> held, because its webhook is off or its endpoint has too much in flight.
-- What entries of one webhook have in common is said and done once for all of them.
-- KEYS  1 queue  2 visits  3 counts, then for each webhook: webhooks, held
-- ARGV  1 consumer  2 held limit (entries)  3 held limit (bytes)  4 first entry id  5 last entry id  6 how many entries,
--       then for each webhook: account, webhook, how many of its entries follow, and for each of those: entry id, delivery
--       count, delivery line, reason, ms until the next visit at the latest. Reasons: off (the oldest goes where there are
--       too many); or its endpoint is busy, and it is held within so many times the limits (a number), or in any case (any)
-- Answers for each entry: HELD, LOST (the lease is another's), GONE (the webhook is deleted), ACTIVE (off, and it is on
-- after all: attempt it), FULL (busy, and one more may not be held), or the error that kept it where it was, without
-- holding up its neighbours.
local queue, visits, counts = KEYS[1], KEYS[2], KEYS[3]
local limit, max_bytes, now = tonumber(ARGV[2]), tonumber(ARGV[3]), now_ms()
local holds = leases(queue, ARGV[1], ARGV[4], ARGV[5], tonumber(ARGV[6]))
-- Entries whose stay ends; webhooks whose oldest may have to go.
local ended, webhooks, answers = {}, {}, {}

-- What is to be held, where the entry is still there and its holder's: its text, and the largest among them.
local function look(of, entry, deliveries, line)
  local found = { holds = holds(entry, deliveries) }
  local event = found.holds and fields(queue, entry)
  if event then
    found.delivery = line .. '\n' .. envelope(event)
    of.largest = math.max(of.largest, #found.delivery)
  end
  return found
end

-- Whether one more may be held, though its webhook be on. What is held is weighed once for each `within`.
local function may_be_held(of, bytes, within)
  if within == 'any' then return true end
  local times = tonumber(within)
  of.rooms[within] = of.rooms[within] or room(of.held, limit * times, max_bytes * times, of.largest)
  return of.rooms[within].is_for(bytes)
end

local function add(of, delivery, reason)
  if reason == 'off' and not of.before then
    of.before = redis.call('XLEN', of.held)
    of.is_beyond = of.before > 0 and weigh(of.held, of.largest, max_bytes) > max_bytes
    of.added = 0
    webhooks[#webhooks + 1] = of
  end
  redis.call('XADD', of.held, '*', 'delivery', delivery)
  if of.before then of.added = of.added + #'delivery' + #delivery end
  for _, left in pairs(of.rooms) do left.take(#delivery) end
end

local function hold(of, found, entry, reason, visit_ms)
  if type(found) ~= 'table' then return found end
  if not found.holds then return 'LOST' end
  if of.settings == nil then of.settings = redis.call('HGET', of.webhooks, of.webhook) end
  if not of.settings then
    count(counts, 'deliveries_of_deleted_webhook', 1)
    ended[#ended + 1] = entry
    return 'GONE'
  end
  if reason == 'off' and is_active(of.settings) then return 'ACTIVE' end
  local delivery = found.delivery
  if delivery and reason ~= 'off' and not may_be_held(of, #delivery, reason) then
    if is_active(of.settings) then return 'FULL' end
    -- It was switched off meanwhile.
    reason = 'off'
  end

  -- Before anything is held: what is held is always visited.
  if not of.visited then visit_by(visits, of.member, now + visit_ms) end
  of.visited = true
  if delivery then add(of, delivery, reason) end
  ended[#ended + 1] = entry
  return 'HELD'
end

local a = 6
for k = 4, #KEYS, 2 do
  local account, webhook, entries = unpack(ARGV, a + 1, a + 3)
  local of = { webhooks = KEYS[k], held = KEYS[k + 1], webhook = webhook, largest = 0, rooms = {} }
  of.member = account .. '/' .. webhook
  a = a + 3
  local found = {}
  for i = 1, entries do found[i] = guarded(look, of, unpack(ARGV, a + 5 * i - 4, a + 5 * i - 2)) end
  for i = 1, entries do
    local entry, reason, visit_ms = ARGV[a + 5 * i - 4], ARGV[a + 5 * i - 1], ARGV[a + 5 * i]
    answers[#answers + 1] = guarded(hold, of, found[i], entry, reason, visit_ms)
  end
  a = a + 5 * entries
end

done(queue, unpack(ended))
-- Where more was held before it was switched off, that is left, and what comes takes the place of the oldest, which have as
-- many bytes.
for _, of in ipairs(webhooks) do
  if of.is_beyond then count(counts, 'held_overflow', drop_oldest(of.held, of.added)) end
  local most, most_bytes = math.max(limit, of.before), of.is_beyond and math.huge or max_bytes
  bound(of.held, most, most_bytes, of.largest, counts, 'held_overflow')
end
return answers
