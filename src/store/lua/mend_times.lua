-- mend times: times and leases that a step of Redis's clock made wrong -> as if the clock had been right. Retries,
-- releases and visits that lie further ahead than any rule plans are brought back, and counted. A pending entry whose
-- lease began in the future is idle for 0 ms until then, so no worker could claim it: its lease begins now, with the
-- same consumer and count.
-- KEYS  1 queue  2 retries  3 releases  4 visits  5 counts  6 audit
-- ARGV  1 longest wait of a retry in ms, by this worker's settings  2 of a release in ms  3 of a visit in ms
--       4 most bytes of retries (the last one may exceed it)  5 where to begin among the pending entries, as XPENDING
--       takes it
--       6 longest wait in ms of deliveries that are among the retries for another reason
--       7 whether the clock stepped recently (1|0)
-- Answers [times brought back, leases that begin now, where to continue among the pending entries ('' after the last),
-- whether more times may lie too far ahead (1|0)]. One run brings back at most 100 times of each kind, and looks at 500
-- entries.
local queue, retries, releases, visits, counts, audit = unpack(KEYS)
local now, most_bytes, from, leases, more = now_ms(), tonumber(ARGV[4]), ARGV[5], 0, 0

-- The settings of other workers may have longer waits, so the longest wait that any worker named in the last five
-- minutes applies. Just after a step, the age of a named wait is unknown, so it applies too.
local longest, told = tonumber(ARGV[1]), redis.pcall('HMGET', audit, 'longest_wait', 'longest_wait_at')
local others, age = tonumber(told[1]), math.abs(now - (tonumber(told[2]) or 0))
if others and (age < 300000 or ARGV[7] == '1') and others > longest then
  longest = others
elseif others ~= longest or age > 60000 then
  redis.pcall('HSET', audit, 'longest_wait', longest, 'longest_wait_at', now)
end
longest = math.max(longest, ARGV[6])

-- Guarded: a key of a wrong type must not hinder the others.
local function bring_back(times, longest_ms, to)
  local furthest, moved, bytes = string.format('(%.0f', now + longest_ms), 0, 0
  while true do
    local member = redis.pcall('ZRANGE', times, furthest, '+inf', 'BYSCORE', 'LIMIT', 0, 1)[1]
    if not member then return moved end
    if moved == 100 or bytes >= most_bytes then
      more = 1
      return moved
    end
    redis.call('ZADD', times, 'XX', to(member), member)
    moved, bytes = moved + 1, bytes + #member
  end
end

-- A retry must not be early, so it waits for the longest time that a retry may wait.
local moved = bring_back(retries, longest, function() return now + longest end)
moved = moved + bring_back(releases, ARGV[2], function() return now end)
moved = moved + bring_back(visits, ARGV[3], function(member) return at_rest(now, member) end)
count(counts, 'times_brought_back', moved)

for _ = 1, 5 do
  local page = redis.pcall('XPENDING', queue, 'workers', from, '+', 100)
  if page.err then page = {} end
  for _, pending in ipairs(page) do
    if pending[3] == 0 then
      if redis.call('XCLAIM', queue, 'workers', pending[2], 0, pending[1], 'JUSTID')[1] then
        leases = leases + 1
      else
        -- Somebody took the entry out of the queue; XCLAIM has removed it from the pending list.
        count(counts, 'entries_trimmed', 1)
      end
    end
    from = '(' .. pending[1]
  end
  if #page < 100 then return { moved, leases, '', more } end
end
return { moved, leases, from, more }
