-- hold (leased, several at once): entries whose webhook is off, or whose endpoint has no room -> held | retries.
-- KEYS  1 queue  2 visits  3 counts  4 retries  5 held_bytes  6 releases, then for each webhook: webhooks, held
-- ARGV  1 consumer  2 held limit (entries)  3 held limit (bytes)  4 first entry id  5 last entry id  6 number of entries, then each
--       webhook, then for each: <account>/<webhook>, number of entries, and for each of those: entry id, delivery count, delivery
--       (line and envelope), reason (off; new: no room; known: no room, and it always fits; again: no room, or no name server, for
--       a retry), ms until the next release at the latest, or until the retry is due again
-- Answers for each entry: HELD, LOST (another has the lease), GONE (the webhook is deleted), ACTIVE (the webhook is on
-- after all), FULL (new, the webhook is on, and `held` is full), or the error that kept the entry where it was.
local queue, visits, counts, retries, sums, releases = unpack(KEYS, 1, 6)
local limit, max_bytes, now = tonumber(ARGV[2]), tonumber(ARGV[3]), now_ms()
local owns = owner_of(queue, ARGV[1], ARGV[4], ARGV[5], tonumber(ARGV[6]))
local a, dropped, trimmed, new_sums, ended, answers = 6 + (#KEYS - 6) / 2, 0, 0, {}, {}, {}
local bytes = redis.pcall('HMGET', sums, unpack(ARGV, 7, a))
local function hold(of, entry, deliveries, delivery, reason, ms)
  if not owns(entry, deliveries) then return 'LOST' end
  of.entries = of.entries or redis.call('XLEN', of.held)
  if of.entries == 0 then of.bytes = 0 end
  local is_full = of.entries >= limit or (of.bytes or 0) + of.added >= max_bytes
  local asks = is_full or reason == 'off'
  -- Held deliveries prove that their webhook exists: both are deleted together.
  if of.settings == nil and (asks or of.entries == 0) then of.settings = redis.call('HGET', of.webhooks, of.webhook) end
  if of.settings == false then
    count(counts, 'deliveries_of_deleted_webhook', redis.call('XDEL', queue, entry))
    return 'GONE'
  elseif reason == 'again' then
    local added = redis.call('ZADD', retries, 'NX', now + ms, delivery)
    count(counts, 'retries_merged', 1 - added)
    if redis.call('XDEL', queue, entry) < added then trimmed = trimmed + redis.call('ZREM', retries, delivery) end
    return 'HELD'
  end
  if of.active == nil and asks then of.active = is_active(of.webhook, of.settings) end
  if of.active and reason == 'off' then return 'ACTIVE' end
  -- Plan the times first: held deliveries without them would never come back.
  if of.entries == 0 or reason == 'off' then of.visit = of.visit or come_by(visits, of.member, at_rest(now, of.member)) end
  if reason ~= 'off' then of.release = of.release or come_by(releases, of.member, now + ms) end
  if of.active and is_full and reason == 'new' then return 'FULL' end
  local id = redis.call('XADD', of.held, '*', 'delivery', delivery)
  local there = redis.call('XDEL', queue, entry) -- 0: somebody took it out of the queue, so it is not held.
  if there == 0 then trimmed = trimmed + redis.call('XDEL', of.held, id) end
  of.entries, of.added = of.entries + there, of.added + there * #delivery
  return 'HELD'
end
for k = 7, #KEYS, 2 do
  local of = { webhooks = KEYS[k], held = KEYS[k + 1], member = ARGV[a + 1], webhook = ARGV[3.5 + k / 2], added = 0 }
  of.bytes, a = tonumber(bytes[k / 2 - 2.5]), a + 2
  for i = a + 1, a + 5 * ARGV[a], 5 do
    answers[#answers + 1] = guarded(hold, of, unpack(ARGV, i, i + 4))
    if answers[#answers] == 'HELD' or answers[#answers] == 'GONE' then ended[#ended + 1] = ARGV[i] end
  end
  local sum = of.bytes and of.bytes >= 0 and of.bytes + of.added
  a = a + 5 * ARGV[a]
  if of.added > 0 and sum then new_sums[#new_sums + 1], new_sums[#new_sums + 2] = of.webhook, sum end
  -- If the sum is missing, or reaches the limit while the webhook is off, a visit weighs. It goes before all others.
  if of.added > 0 and not (sum and (sum < max_bytes or of.active ~= false)) then come_by(visits, of.member, 0) end
  if of.active == false and of.entries > limit then dropped = dropped + redis.call('XTRIM', of.held, 'MAXLEN', '=', limit) end
end
for cause, n in pairs({ held_overflow = dropped, entries_trimmed = trimmed }) do count(counts, cause, n) end
if #new_sums > 0 then redis.pcall('HSET', sums, unpack(new_sums)) end
if #ended > 0 then redis.call('XACK', queue, 'workers', unpack(ended)) end
return answers
