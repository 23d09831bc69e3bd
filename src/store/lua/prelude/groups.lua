-- The queue's consumer group.

-- Turns an answer of alternating names and values, such as XINFO's, into a table.
local function named(flat)
  local of = {}
  for i = 1, #flat, 2 do of[flat[i]] = flat[i + 1] end
  return of
end

-- The consumer group as XINFO describes it; nil if there is none; or the error.
local function workers_of(queue)
  local groups = redis.pcall('XINFO', 'GROUPS', queue)
  if groups.err then return not string.find(groups.err, 'no such key', 1, true) and groups or nil end
  for _, group in ipairs(groups) do
    group = named(group)
    if group.name == 'workers' then return group end
  end
end
