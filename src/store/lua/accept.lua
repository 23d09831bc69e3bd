-- accept: new events of one account -> queue, all of them or none, and once for each idempotency key.
-- KEYS  1 queue  2 idempotency  3 idempotency:before  4 counts
-- ARGV  1 <account>/<key> ('': no key)  2 fingerprint of the request  3 most bytes of each of the two hashes  4 account
--       then, for each event: envelope, id ('': none), traceparent ('': none)
-- Answers [ACCEPTED, entry id, …], [REPEATED] (the key came before, with this fingerprint), [DIFFERS] (with another), or
-- [STAYED] (it failed, and this user may not take the entries back).
-- It has no flags, unlike the other scripts. So a full Redis refuses its first write, which adds the first event, and a
-- repetition, which writes nothing, is answered nevertheless.
local queue, current, before, field, fingerprint = KEYS[1], KEYS[2], KEYS[3], ARGV[1], ARGV[2]
local now, day_ms = now_ms(), 86400000

-- A hash takes keys for 24 h and counts for 48 h, so a key is known for 24 to 48 h. Answers the notes in its field '':
-- when it began in Unix ms, its bytes, and the rest (' ' and the ms to which memory shortened the window, or nothing).
-- Before those come the key's fingerprint, if it is known, and whether the hash counts.
local function look(hash)
  local found = redis.call('HMGET', hash, '', field)
  local since, bytes, rest = string.match(found[1] or '', '^(%d+) (%d+)(.*)$')
  local counts = since and now - since < 2 * day_ms
  return counts and found[2], counts, tonumber(since), tonumber(bytes), rest
end

local before_counts, since, bytes, shortened, _
if field ~= '' then
  local known, before_known
  known, _, since, bytes, shortened = look(current)
  before_known, before_counts = look(before)
  known = known or before_known
  if known then return { known == fingerprint and 'REPEATED' or 'DIFFERS' } end
end

local function remember()
  -- At most what Redis takes for a key: its place in the table, the fingerprint, the text, the allocator's rounding.
  local cost, age = 96 + math.ceil(#field * 5 / 4), since and now - since
  if age and (age >= day_ms or bytes + cost > tonumber(ARGV[3])) then
    shortened = ''
    if age < day_ms and before_counts then
      count(KEYS[4], 'idempotency_keys_forgotten', redis.call('HLEN', before) - 1)
      shortened = string.format(' %d', age)
    end
    redis.call('UNLINK', before)
    redis.call('RENAME', current, before)
    since = nil
  end
  if not since then since, bytes = now, 256 end
  redis.call('HSET', current, '', string.format('%.0f %d%s', since, bytes + cost, shortened or ''), field, fingerprint)
end

local answer, optional = { 'ACCEPTED' }, { 'id', 'traceparent' }
local written, problem = pcall(function()
  for i = 5, #ARGV, 3 do
    local words = { 'account', ARGV[4], 'envelope', ARGV[i] }
    for place, name in ipairs(optional) do
      if ARGV[i + place] ~= '' then words[#words + 1], words[#words + 2] = name, ARGV[i + place] end
    end
    answer[#answer + 1] = redis.call('XADD', queue, '*', unpack(words))
  end
  if field ~= '' then remember() end
end)
if written then return answer end
-- Lua never rolls back. The queue may have no id left, or this user may lack a right.
if answer[2] and not pcall(redis.call, 'XDEL', queue, unpack(answer, 2)) then return { 'STAYED' } end
return type(problem) == 'table' and problem or redis.error_reply(problem)
