-- The end of an entry's stay in the queue, and the counts of what was dropped.

-- Counts dropped entries. Guarded: Lua never rolls back, so a counter of a wrong type must not stop a move half-way.
local function count(counts, cause, n)
  if n > 0 then redis.pcall('HINCRBY', counts, cause, n) end
end

-- Removes entries from the queue and from the pending list, and counts those that somebody took out before.
local function done(queue, counts, ...)
  local entries = select('#', ...)
  if entries == 0 then return end
  redis.call('XACK', queue, 'workers', ...)
  count(counts, 'entries_trimmed', entries - redis.call('XDEL', queue, ...))
end
