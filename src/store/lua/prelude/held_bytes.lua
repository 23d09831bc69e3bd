-- The bytes of a webhook's held deliveries, for `visit`.

-- An estimate of the bytes, from the first `nodes` nodes of the stream. An entry of several KB has a node of its own;
-- smaller entries share one.
local function weigh_held(held, nodes) return redis.call('MEMORY', 'USAGE', held, 'SAMPLES', string.format('%d', nodes)) end

-- Drops the oldest of `entries` until `excess` bytes are free, but never the newest; answers the number left. It does
-- not read them, because reading 6 KB takes 10 µs. Each step chooses nodes that together weigh no more than what is
-- still to be freed, and drops at most one entry for each; but at least one entry.
local function free_held(held, entries, excess)
  local function count_nodes() return redis.call('XINFO', 'STREAM', held)[4] end
  local nodes = count_nodes()
  for _ = 1, 16 do
    if excess <= 0 or entries == 1 then break end
    local n, bytes = 256, 0
    while true do
      bytes = weigh_held(held, n) * n / math.max(1, nodes - 1)
      if n == 1 or bytes <= excess then break end
      n = n / 2
    end
    n = math.min(n, entries - 1)
    redis.call('XTRIM', held, 'MAXLEN', '=', entries - n)
    -- Small entries share nodes, so the nodes are counted again. For large ones they are not: counting reads the first
    -- and the last entry.
    local gone = bytes / n < 8192 and entries > 2 * nodes and nodes - count_nodes() or n
    excess, entries, nodes = excess - bytes * gone / n, entries - n, nodes - gone
  end
  return entries
end
