-- drop rejected: entries of `rejected`, oldest first -> gone, counted.
-- KEYS  1 rejected  2 counts
-- ARGV  1 first id, or ( and the id before it  2 last id  3 most entries  4 most bytes
-- Answers [entries dropped, 0, where to continue (as ARGV 1; '' after the last)], in the form of `requeue_rejected`.
local rejected, counts, from, last = KEYS[1], KEYS[2], ARGV[1], ARGV[2]
local dropped, bytes = 0, 0
while dropped < tonumber(ARGV[3]) and bytes < tonumber(ARGV[4]) do
  local found = redis.call('XRANGE', rejected, from, last, 'COUNT', 1)[1]
  if not found then
    from = ''
    break
  end
  redis.call('XDEL', rejected, found[1])
  dropped = dropped + 1
  for _, text in ipairs(found[2]) do bytes = bytes + #text end
  from = '(' .. found[1]
end
count(counts, 'rejected_dropped', dropped)
if redis.call('XLEN', rejected) == 0 then redis.call('DEL', rejected) end
return { dropped, 0, from }
