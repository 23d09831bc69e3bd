-- An account's portal: links and sessions. Each is a field of one hash, its name the hash of its token. Rust writes the
-- value, so its kind stands first; `admit` adds its end, so that stands last.

-- An entry's kind, and its end in Unix ms. An entry that cannot be read has ended.
local function kind_and_end(value)
  return string.match(value, '^{"kind":"(%a+)"'), tonumber(string.match(value, ',"until":(%d+)}$')) or 0
end

-- Adds an entry that lives for `life` ms. Those that have ended go, and so do the oldest of its kind beyond `most`. The
-- key expires with its newest entry. Answers the entry with its end.
local function admit(portal, token, value, life, most)
  local now, others = now_ms(), {}
  local ends, newest = now + life, now + life
  local own_kind = kind_and_end(value)
  local entries = redis.call('HGETALL', portal)
  for i = 1, #entries, 2 do
    local kind, its_end = kind_and_end(entries[i + 1])
    if its_end <= now then
      redis.call('HDEL', portal, entries[i])
    else
      if kind == own_kind then others[#others + 1] = { its_end, entries[i] } end
      newest = math.max(newest, its_end)
    end
  end
  table.sort(others, function(a, b) return a[1] < b[1] or (a[1] == b[1] and a[2] < b[2]) end)
  for i = 1, #others - most + 1 do redis.call('HDEL', portal, others[i][2]) end
  local whole = string.format('%s,"until":%.0f}', string.sub(value, 1, -2), ends)
  redis.call('HSET', portal, token, whole)
  redis.call('PEXPIREAT', portal, string.format('%.0f', newest))
  return whole
end
