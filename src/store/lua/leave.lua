-- leave: entries that `consumer` took and did not start -> queue, as new entries (an event keeps its id). Consumers
-- with nothing pending are removed: `consumer` if it leaves, any consumer that was idle for longer than the idle time.
-- KEYS  1 queue  2 counts
-- ARGV  1 consumer  2 whether it leaves (1|0)  3 idle time in ms, then for each entry: entry id, delivery count, event
--       id
-- Answers the number of entries given back.
local queue, counts, consumer, given = KEYS[1], KEYS[2], ARGV[1], 0
for i = 4, #ARGV, 3 do
  local entry = ARGV[i]
  if owns(queue, entry, consumer, ARGV[i + 1]) then
    local taken = fields(queue, entry)
    if taken and not taken.envelope then
      local copy = { 'delivery', taken.delivery }
      if taken.held then copy[3], copy[4] = 'held', taken.held end
      redis.call('XADD', queue, '*', unpack(copy))
    elseif taken then
      local copy = { 'account', taken.account, 'envelope', taken.envelope, 'id', ARGV[i + 2] }
      for _, name in ipairs({ 'lynkhook:after', 'traceparent' }) do
        if taken[name] then copy[#copy + 1], copy[#copy + 2] = name, taken[name] end
      end
      redis.call('XADD', queue, '*', unpack(copy))
    end
    done(queue, counts, entry)
    given = given + 1
  end
end

local consumers = redis.pcall('XINFO', 'CONSUMERS', queue, 'workers')
for _, found in ipairs(consumers.err and {} or consumers) do
  local name, pending, idle_ms = found[2], found[4], found[6]
  local leaves = name == consumer and ARGV[2] == '1'
  if pending == 0 and (leaves or idle_ms > tonumber(ARGV[3])) then
    redis.call('XGROUP', 'DELCONSUMER', queue, 'workers', name)
  end
end
return given
