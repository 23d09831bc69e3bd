-- The next state of one attempted delivery, for `settle`. Takes `clock`, `counts`, `entries`, `times`, `bytes`, `logs`,
-- `ids` and `vanished`. The table `step` is common to all attempts: the keys queue, retries, visits, counts and audit;
-- now; owns; the limit and max_bytes of failed deliveries; log_last and log_ttl; and the number dropped by each cause.
-- The table `of` is common to the attempts of one webhook: webhook, member, renew; the keys webhooks, logs and failed;
-- and the log entries to write.

local function drop(step, cause, n) step.dropped[cause] = step.dropped[cause] + n end
local function webhook_exists(of)
  if of.there == nil then of.there = redis.call('HEXISTS', of.webhooks, of.webhook) == 1 end
  return of.there
end

local function retry(step, delivery, delay_ms)
  -- An identical delivery can already be waiting only if a producer gave two equal events the same id.
  drop(step, 'retries_merged', 1 - redis.call('ZADD', step.retries, 'NX', step.now + delay_ms, delivery))
end

-- A webhook with failed deliveries has a visit planned. It is planned again, and the stream weighed, only if `is_close`
-- says so, or with the log's expiry, which serves a full stream whose limit is no multiple of 16.
local function fail(step, of, delivery, log)
  local before = redis.call('XLEN', of.failed)
  local closely = of.renew or is_close(before, 1, #delivery, step.max_bytes)
  if closely then come_by(step.visits, of.member, at_rest(step.now, of.member)) end
  redis.call('XADD', of.failed, 'MAXLEN', '=', step.limit, '*', 'delivery', delivery, 'log', log)
  drop(step, 'failed_overflow', math.max(before + 1 - step.limit, 0))
  if closely then drop(step, 'failed_overflow', bound_bytes(of.failed, step.max_bytes, #delivery)) end
end

local function settle(step, of, entry, deliveries, log, next, line, delay_ms)
  local trimmed = deliveries == '0'
  if not trimmed and not step.owns(entry, deliveries) then
    return is_vanished(step.queue, step.audit, entry, true) and 'VANISHED' or 'LOST'
  end
  if trimmed then drop(step, 'entries_trimmed', redis.call('XACK', step.queue, 'workers', entry)) end
  -- An entry that is no longer in the queue has no lease. Its log entry shows if it was settled before.
  if trimmed and type(redis.pcall('LPOS', of.logs, log)) == 'number' then return 'DONE' end
  if next ~= 'delivered' then
    if not webhook_exists(of) then return 'GONE' end
    local event = not trimmed and fields(step.queue, entry)
    if not event and not trimmed then return 'TRIMMED' end
    local delivery = event and line .. '\n' .. envelope(event) or line
    if next == 'retry' then retry(step, delivery, delay_ms) else fail(step, of, delivery, log) end
  end
  of.log[#of.log + 1] = log
  return 'SETTLED'
end

-- Writes a webhook's log. A log that exists has an expiry and a planned visit. Once a minute both are set again,
-- because somebody may have removed them.
local function write_log(step, of)
  local length = add_to_log('LPUSHX', of.logs, step.log_last, unpack(of.log))
  local absent = length == 0
  if (absent or not length) and not webhook_exists(of) then return 'GONE' end
  if absent then length = add_to_log('LPUSH', of.logs, step.log_last, unpack(of.log)) end
  if not length then
    count(step.counts, 'log_entries_refused', #of.log)
    return 'UNLOGGED'
  end
  if absent or of.renew then
    -- Guarded: these attempts are settled, and other logs are still to be written.
    redis.pcall('EXPIRE', of.logs, step.log_ttl)
    pcall(come_by, step.visits, of.member, at_rest(step.now, of.member))
  end
  return 'SETTLED'
end
