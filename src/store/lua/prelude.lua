-- Stands before every script. The clock is Redis's own. The fence decides who may move an entry.

local function now_ms()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

-- Whether `consumer` holds `entry` under this very delivery count. A group that is gone holds nothing.
local function owns(queue, entry, consumer, deliveries)
  local pending = redis.pcall('XPENDING', queue, 'workers', entry, entry, '1')
  local lease = not pending.err and pending[1]
  return lease and lease[2] == consumer and lease[4] == tonumber(deliveries)
end

-- The same for so many entries, of which most lie between `first` and `last`: a function of entry and delivery count. All
-- that `consumer` has between them is looked at together, up to twice as many: entries that are settled together were mostly
-- taken together. What is not among those is looked at one by one.
local function owner_of(queue, consumer, first, last, entries)
  local counts = {}
  local pending = redis.pcall('XPENDING', queue, 'workers', first, last, string.format('%d', entries * 2), consumer)
  if pending.err then pending = {} end
  for _, lease in ipairs(pending) do counts[lease[1]] = lease[4] end
  return function(entry, deliveries)
    if counts[entry] then return counts[entry] == tonumber(deliveries) end
    return owns(queue, entry, consumer, deliveries)
  end
end

-- Counts what was dropped. Guarded: a spoiled counter must not stop a move half-way, for Lua never rolls back.
local function count(counts, cause, n)
  if n > 0 then redis.pcall('HINCRBY', counts, cause, n) end
end

-- Ends entries' stay in the queue. Those that somebody took out of it before are counted.
local function done(queue, counts, ...)
  local entries = select('#', ...)
  if entries == 0 then return end
  redis.call('XACK', queue, 'workers', ...)
  count(counts, 'entries_trimmed', entries - redis.call('XDEL', queue, ...))
end

-- An entry's fields as a table, or nil where the entry is gone.
local function fields(queue, entry)
  local found = redis.call('XRANGE', queue, entry, entry)[1]
  if not found then return nil end
  local named = {}
  for i = 1, #found[2], 2 do named[found[2][i]] = found[2][i + 1] end
  return named
end

-- The envelope's bytes, whether the entry is an event or a delivery. Never looked into.
local function envelope(entry)
  return entry.envelope or string.sub(entry.delivery, string.find(entry.delivery, '\n', 1, true) + 1)
end

-- Whether a webhook's settings say that it is on, and where its events go. Guarded: settings that somebody spoiled (JSON
-- without fields, or another webhook's, too) say nothing of the kind.
local function is_active(webhook, settings)
  local readable, found = pcall(cjson.decode, settings)
  return readable and type(found) == 'table' and found.id == webhook and found.active == true and type(found.url) == 'string'
end

-- Bytes of a stream, as exactly as it takes to tell whether they are below `max_bytes`: five nodes stand for all others,
-- and so does the entry that was just added, or is to be; only where either says that half is reached, all are weighed
-- (1 ms for 10,000 nodes).
local function weigh(key, newest_bytes, max_bytes)
  local about = math.max(redis.call('MEMORY', 'USAGE', key), redis.call('XLEN', key) * newest_bytes)
  if about * 2 < max_bytes then return about end
  return redis.call('MEMORY', 'USAGE', key, 'SAMPLES', 0)
end

-- Drops the oldest of a stream that have so many bytes together, but never the newest; answers how many. At most 128 and
-- about 1 MiB at a time (some 2 ms): a bound that was lowered takes effect step by step.
local function drop_oldest(key, bytes)
  local dropped, most, enough = 0, math.min(128, redis.call('XLEN', key) - 1), bytes - 1048576
  while bytes > 0 and bytes > enough and dropped < most do
    local oldest = redis.call('XRANGE', key, '-', '+', 'COUNT', 1)[1]
    for _, text in ipairs(oldest[2]) do bytes = bytes - #text end
    dropped = dropped + redis.call('XDEL', key, oldest[1])
  end
  return dropped
end

-- Keeps a stream within `max_bytes` bytes, now that one of `newest_bytes` was added: the oldest go, answered is how many;
-- the newest stays.
local function bound_bytes(key, max_bytes, newest_bytes)
  return drop_oldest(key, weigh(key, newest_bytes, max_bytes) - max_bytes)
end

-- The same, and within `limit` entries.
local function bound(key, limit, max_bytes, newest_bytes)
  return redis.call('XTRIM', key, 'MAXLEN', '=', limit) + bound_bytes(key, max_bytes, newest_bytes)
end

-- Whether a stream of `length` entries is to be looked at closely when `entries` come, of which the largest has so many
-- bytes: where few are there, where one that comes is a sixteenth, and where so many as large would come near `max_bytes`.
local function is_close(length, entries, largest, max_bytes)
  return length < 16 or -length % 16 < entries or length * largest * 4 >= max_bytes
end

-- What a step answers, or what it raised.
local function guarded(step, ...)
  local ok, answer = pcall(step, ...)
  return ok and answer or (type(answer) == 'table' and answer.err or tostring(answer))
end

-- Sees to it that a webhook is visited, or what it holds released, at `at_ms` or sooner.
local function come_by(times, member, at_ms) return redis.call('ZADD', times, 'LT', at_ms, member) end

-- When a webhook that needs nothing now is visited next: in 30 to 55 minutes. Each has a time of its own, so that many that are
-- visited together now are not together again.
local function at_rest(now, member)
  local share = tonumber(string.sub(redis.sha1hex(member), 1, 4), 16) / 65536
  return math.floor(now + (30 + 25 * share) * 60000)
end

-- Drops what a stream has that is older than `min_ms`, and counts it: 1000 entries at most (0.5 ms), whole nodes of the stream
-- at first. Answers how many are left, and whether more of them may be too old. Of what is no stream nothing is left.
local function drop_old(key, min_ms, counts, cause)
  local entries, min = redis.pcall('XLEN', key), string.format('%.0f', min_ms)
  if type(entries) ~= 'number' or entries == 0 then return 0, false end
  local dropped = redis.call('XTRIM', key, 'MINID', '~', min, 'LIMIT', '1000')
  -- A node has 100 entries, or fewer: so many less than the limit mean that no whole node is too old.
  local more = dropped > 900
  if not more then dropped = dropped + redis.call('XTRIM', key, 'MINID', '=', min) end
  count(counts, cause, dropped)
  if dropped == entries then redis.call('DEL', key) end
  return entries - dropped, more
end

-- Drops all that lies there for a webhook but its settings, and counts it; answers how many held and failed deliveries.
-- A key of a wrong type goes too, and counts for nothing. Unlinking frees in the background, so any number is one step.
local function drop_webhook(webhook, member, logs, held, failed, visits, releases, counts, sums)
  local function length(key)
    local entries = redis.pcall('XLEN', key)
    return type(entries) == 'number' and entries or 0
  end
  local were_held, had_failed = length(held), length(failed)
  count(counts, 'deliveries_of_deleted_webhook', were_held)
  count(counts, 'failed_of_deleted_webhook', had_failed)
  redis.call('UNLINK', logs, held, failed)
  redis.pcall('ZREM', visits, member)
  redis.pcall('ZREM', releases, member)
  redis.pcall('HDEL', sums, webhook)
  return were_held, had_failed
end

-- Adds entries to a log, the oldest first, with LPUSH, or with LPUSHX, which leaves it absent; those after the index `last`
-- go. Answers its length, or nil: guarded, for Lua never rolls back, so a log key of a wrong type must not undo a move that
-- was made. `last` is text: a number would be turned into text for each log.
local function add_to_log(push, key, last, ...)
  local length = redis.pcall(push, key, ...)
  if type(length) ~= 'number' then return nil end
  if length > last + 1 then redis.call('LTRIM', key, '0', last) end
  return length
end

-- What XINFO answers, as a table.
local function named(flat)
  local of = {}
  for i = 1, #flat, 2 do of[flat[i]] = flat[i + 1] end
  return of
end

-- What Redis tells of the group; nil where there is none, or the error.
local function workers_of(queue)
  local groups = redis.pcall('XINFO', 'GROUPS', queue)
  if groups.err then return not string.find(groups.err, 'no such key', 1, true) and groups or nil end
  for _, group in ipairs(groups) do
    group = named(group)
    if group.name == 'workers' then return group end
  end
end

-- Whether entry id `a` is the larger; false where one of them is no id.
local function is_after(a, b)
  local a_ms, a_sequence = string.match(a or '', '^(%d+)-(%d+)$')
  local b_ms, b_sequence = string.match(b or '', '^(%d+)-(%d+)$')
  if not a_ms or not b_ms then return false end
  local function is_more(x, y)
    if #x ~= #y then return #x > #y end
    return x > y
  end
  if a_ms ~= b_ms then return is_more(a_ms, b_ms) end
  return is_more(a_sequence, b_sequence)
end

-- Whether an entry that a worker had in hand was lost to everybody: it is neither in the queue nor pending, and nobody else had it
-- and settled it, as far as `audit` can tell. Where the worker itself may have settled it, it is lost if there is no group, or
-- if the group was made anew within the last minute when the entry was gone already.
local function is_vanished(queue, audit, entry, may_be_settled)
  local pending = redis.pcall('XPENDING', queue, 'workers', entry, entry, '1')
  local found = redis.pcall('XRANGE', queue, entry, entry)
  if found.err or found[1] or pending[1] then return false end
  local told = redis.pcall('HMGET', audit, 'leases_lost', 'lost_before', 'handed_out', 'handed_out_to')
  local function lately(at) return now_ms() - (tonumber(at) or 0) < 60000 end
  if pending.err then return true end
  if lately(told[1]) then return is_after(told[2] or '', entry) end
  return not may_be_settled and not (lately(told[3]) and not is_after(entry, told[4] or ''))
end
