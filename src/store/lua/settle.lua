-- settle (leased, several at once): attempted entries -> delivered | retries | failed, with their log entries. A
-- repetition does no harm: a settled entry is no longer pending, so the answer is LOST. Calls and arguments cost as
-- much as the commands, so anything that several attempts have in common is passed and done once. Most webhooks are
-- *plain*: all their attempts delivered, and only the log has to be written. Such an attempt has few arguments. It is
-- settled if the log exists, which proves that the webhook exists, because both are deleted together.
-- KEYS  1 queue  2 retries  3 visits  4 counts  5 audit, then the log of each plain webhook, then for each other
--       webhook: webhooks, logs, failed
-- ARGV  1 consumer  2 index of the last log entry  3 log TTL in s  4 failed limit (entries)  5 failed limit (bytes)
--       6 first entry id  7 last entry id  8 number of attempts  9 number of plain webhooks for each plain webhook:
--       number of attempts, their entry ids, their log entries; the delivery count of each is 1 for each other webhook:
--       account, webhook, whether to renew its log's expiry and plan its visit (1|0), number of attempts, and for each
--       of those: entry id, delivery count (0: the entry is no longer in the queue), log entry, next
--       (delivered|retry|failed), and unless delivered: the delivery line to write (with the envelope if the count is
--       0), delay in ms from now (retry)
-- Answers for each attempt:
--       SETTLED   it is done
--       UNLOGGED  it is done, but the log refused the entry
--       GONE      its webhook is deleted, and the delivery was dropped
--       LOST      another consumer has the lease; nothing changed
--       TRIMMED   somebody took the entry out of the queue; nothing changed; settle it again with delivery count 0
--       VANISHED  like TRIMMED, and no consumer has a lease on it, because the group was lost
--       AGAIN     its plain webhook has no log or lost a lease; nothing changed; settle it again as not plain
--       or the error that kept this one entry where it was, such as a key of a wrong type
local queue, counts, log_last = KEYS[1], KEYS[4], ARGV[2]
local owns = owner_of(queue, ARGV[1], ARGV[6], ARGV[7], tonumber(ARGV[8]))
-- The entries that leave the queue, and the answer for each attempt.
local ended, answers = {}, {}

local a, others = 9, 6 + ARGV[9]
for k = 6, others - 1 do
  local first, last, is_owned = a + 2, a + 1 + ARGV[a + 1], true
  a = 2 * last - first + 1
  for i = first, last do is_owned = is_owned and owns(ARGV[i], 1) end
  local length = is_owned and add_to_log('LPUSHX', KEYS[k], log_last, unpack(ARGV, last + 1, a)) or 0
  for i = first, last do
    answers[#answers + 1] = length > 0 and 'SETTLED' or 'AGAIN'
    if length > 0 then ended[#ended + 1] = ARGV[i] end
  end
end
if others > #KEYS then
  done(queue, counts, unpack(ended))
  return answers
end

local step = { queue = queue, retries = KEYS[2], visits = KEYS[3], counts = counts, audit = KEYS[5] }
step.now, step.owns, step.log_last, step.log_ttl = now_ms(), owns, log_last, ARGV[3]
step.limit, step.max_bytes = tonumber(ARGV[4]), tonumber(ARGV[5])
step.dropped = { retries_merged = 0, failed_overflow = 0, deliveries_of_deleted_webhook = 0, entries_trimmed = 0 }
for k = others, #KEYS, 3 do
  local account, webhook, renew, attempts = unpack(ARGV, a + 1, a + 4)
  local of = { webhooks = KEYS[k], logs = KEYS[k + 1], failed = KEYS[k + 2], webhook = webhook, log = {} }
  of.member, of.renew = account .. '/' .. webhook, renew == '1'
  a = a + 4
  local before, entries = #answers, {}
  for i = 1, attempts do
    local last = a + (ARGV[a + 4] == 'delivered' and 4 or 6)
    entries[i] = ARGV[a + 2] ~= '0' and ARGV[a + 1]
    answers[before + i] = guarded(settle, step, of, unpack(ARGV, a + 1, last))
    a = last
  end
  local written = #of.log > 0 and guarded(write_log, step, of)
  for i, entry in ipairs(entries) do
    if answers[before + i] == 'SETTLED' then answers[before + i] = written end
    local answer = answers[before + i]
    local has_ended = answer == 'SETTLED' or answer == 'UNLOGGED' or answer == 'GONE'
    if has_ended and entry then ended[#ended + 1] = entry end
    if answer == 'GONE' then drop(step, 'deliveries_of_deleted_webhook', 1) end
  end
end
done(queue, counts, unpack(ended))
for cause, n in pairs(step.dropped) do count(counts, cause, n) end
return answers
