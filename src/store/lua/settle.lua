-- settle (leased, several at once): an attempted entry -> delivered | retries | failed, with its log entry.
-- Repeating it is harmless: what was settled is no longer pending, and answers LOST.
-- What several attempts have in common is said and done once for all: a call from Lua costs as much as what it calls,
-- and so does an argument.
-- Most webhooks are *plain*: all attempts delivered, and nothing but the log is to be written. They have few arguments, and
-- are settled where the log is there: that proves that its webhook is, for they are deleted together.
-- KEYS  1 queue  2 retries  3 visits  4 counts  5 audit, then each plain webhook's log, then for each other webhook: webhooks, logs,
--       failed
-- ARGV  1 consumer  2 index of the last log entry  3 log TTL in s  4 failed limit (entries)  5 failed limit (bytes)
--       6 first entry id  7 last entry id  8 how many attempts  9 how many plain webhooks
--       for each plain webhook: how many attempts, their entry ids, their log entries; their delivery count is 1
--       for each other webhook: account, webhook, whether its log's expiry is to be renewed and its visit planned (1|0), how
--       many of its attempts follow, and for each of those: entry id, delivery count (0: the entry is not in the queue any
--       more), log entry, next (delivered|retry|failed), and where it is not delivered: delivery line as it goes on (0:
--       with the envelope), delay in ms from now (retry)
-- Answers for each attempt: SETTLED, UNLOGGED (the same, but the log did not take the entry), LOST (the lease is another's;
-- nothing changed), TRIMMED (somebody took the entry out of the queue; nothing changed, and it is to be settled as such), VANISHED
-- (the same of an entry that nobody holds, because the group was lost), GONE
-- (the webhook is deleted), AGAIN (a plain webhook has no log, or lost a lease; nothing changed, and it is to be settled as no
-- plain one), or the error that kept it where it was (a key of a wrong type), without holding up its neighbours.
local queue, retries, visits, counts, log_last = KEYS[1], KEYS[2], KEYS[3], KEYS[4], ARGV[2]
local limit, max_bytes = tonumber(ARGV[4]), tonumber(ARGV[5])
local now = now_ms()
local owns = owner_of(queue, ARGV[1], ARGV[6], ARGV[7], tonumber(ARGV[8]))
-- Entries whose stay ends; how many of each cause were dropped.
local ended, answers = {}, {}
local dropped = { retries_merged = 0, failed_overflow = 0, deliveries_of_deleted_webhook = 0, entries_trimmed = 0 }

local function drop(cause, n) dropped[cause] = dropped[cause] + n end

local function is_there(of)
  if of.there == nil then of.there = redis.call('HEXISTS', of.webhooks, of.webhook) == 1 end
  return of.there
end

local function retry(delivery, delay_ms)
  local added = redis.call('ZADD', retries, 'NX', now + delay_ms, delivery)
  -- The very same delivery can wait already only where a producer gave two equal events one id.
  drop('retries_merged', 1 - added)
end

-- Where others have failed, the webhook is visited. That is planned again, and they are weighed, now and then: where
-- `is_close` says so, and when the log's expiry is renewed: that helps where `failed` is full and its limit is no multiple of 16.
local function fail(of, delivery, log)
  local before = redis.call('XLEN', of.failed)
  local closely = of.renew or is_close(before, 1, #delivery, max_bytes)
  if closely then come_by(visits, of.member, at_rest(now, of.member)) end
  redis.call('XADD', of.failed, 'MAXLEN', '=', ARGV[4], '*', 'delivery', delivery, 'log', log)
  drop('failed_overflow', math.max(before + 1 - limit, 0))
  if closely then drop('failed_overflow', bound_bytes(of.failed, max_bytes, #delivery)) end
end

local function settle(of, entry, deliveries, log, next, line, delay_ms)
  local trimmed = deliveries == '0'
  if not trimmed and not owns(entry, deliveries) then
    return is_vanished(queue, KEYS[5], entry, true) and 'VANISHED' or 'LOST'
  end
  if trimmed then drop('entries_trimmed', redis.call('XACK', queue, 'workers', entry)) end
  -- A repetition is told by its log entry, for it has no lease that could be gone.
  if trimmed and type(redis.pcall('LPOS', of.logs, log)) == 'number' then return 'DONE' end
  if next ~= 'delivered' then
    if not is_there(of) then return 'GONE' end
    local event = not trimmed and fields(queue, entry)
    if not event and not trimmed then return 'TRIMMED' end
    local delivery = event and line .. '\n' .. envelope(event) or line
    if next == 'retry' then retry(delivery, delay_ms) else fail(of, delivery, log) end
  end
  of.log[#of.log + 1] = log
  return 'SETTLED'
end

-- Writes what was settled to the webhook's log. A log that is there has its expiry and its visit too; once a minute they are
-- set again, since somebody may have lost either.
local function write(of)
  local length = add_to_log('LPUSHX', of.logs, log_last, unpack(of.log))
  local absent = length == 0
  if (absent or not length) and not is_there(of) then return 'GONE' end
  if absent then length = add_to_log('LPUSH', of.logs, log_last, unpack(of.log)) end
  if not length then
    count(counts, 'log_entries_refused', #of.log)
    return 'UNLOGGED'
  end
  if absent or of.renew then
    -- Guarded: what is settled is settled, and the other logs are to be written.
    redis.pcall('EXPIRE', of.logs, ARGV[3])
    pcall(come_by, visits, of.member, at_rest(now, of.member))
  end
  return 'SETTLED'
end

local a, others = 9, 6 + ARGV[9]
for k = 6, others - 1 do
  local first, last, held = a + 2, a + 1 + ARGV[a + 1], true
  a = 2 * last - first + 1
  for i = first, last do held = held and owns(ARGV[i], 1) end
  local length = held and add_to_log('LPUSHX', KEYS[k], log_last, unpack(ARGV, last + 1, a)) or 0
  for i = first, last do
    answers[#answers + 1] = length > 0 and 'SETTLED' or 'AGAIN'
    if length > 0 then ended[#ended + 1] = ARGV[i] end
  end
end

for k = others, #KEYS, 3 do
  local account, webhook, renew, attempts = unpack(ARGV, a + 1, a + 4)
  local of = { webhooks = KEYS[k], logs = KEYS[k + 1], failed = KEYS[k + 2], webhook = webhook, log = {} }
  of.member, of.renew = account .. '/' .. webhook, renew == '1'
  a = a + 4
  local before, entries = #answers, {}
  for i = 1, attempts do
    local last = a + (ARGV[a + 4] == 'delivered' and 4 or 6)
    entries[i] = ARGV[a + 2] ~= '0' and ARGV[a + 1]
    answers[before + i] = guarded(settle, of, unpack(ARGV, a + 1, last))
    a = last
  end
  local written = #of.log > 0 and guarded(write, of)
  for i, entry in ipairs(entries) do
    if answers[before + i] == 'SETTLED' then answers[before + i] = written end
    local answer = answers[before + i]
    local has_ended = answer == 'SETTLED' or answer == 'UNLOGGED' or answer == 'GONE'
    if has_ended and entry then ended[#ended + 1] = entry end
    if answer == 'GONE' then drop('deliveries_of_deleted_webhook', 1) end
  end
end

done(queue, counts, unpack(ended))
for cause, n in pairs(dropped) do count(counts, cause, n) end
return answers
