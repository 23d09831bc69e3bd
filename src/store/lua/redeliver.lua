-- redeliver: failed deliveries of a range -> queue, oldest first, at attempt 1, with `redelivery` raised by 1.
-- KEYS  1 webhooks  2 failed  3 queue
-- ARGV  1 webhook  2 first entry id  3 last entry id  4 most entries  5 most bytes (at least one entry is moved)
-- Answers [MOVED, entries moved, entry id to continue with ('': all are moved)], or [GONE, 0, ''] (the webhook is
-- deleted).
local webhooks, failed, queue = KEYS[1], KEYS[2], KEYS[3]
local webhook, first, last, most, most_bytes = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
if redis.call('HEXISTS', webhooks, webhook) == 0 then return { 'GONE', 0, '' } end

-- Edits the line as text and not as JSON, so that its fields keep their order. That is safe: Rust wrote the line,
-- without blanks, and no value in it can have a quote.
local function anew(delivery)
  local line = string.match(delivery, '^[^\n]*')
  local times = tonumber(string.match(line, '"redelivery":(%d+)') or 0) + 1
  local changed = string.gsub(line, ',"redelivery":%d+', '')
  changed = string.gsub(changed, '"attempt":%d+', '"attempt":1,"redelivery":' .. times)
  return changed .. string.sub(delivery, #line + 1)
end

local moved, bytes = 0, 0
while true do
  local found = redis.call('XRANGE', failed, first, last, 'COUNT', 1)[1]
  if not found then break end
  -- An entry that no script wrote goes unchanged. The worker that takes it rejects it with a reason.
  local delivery = found[2][2]
  bytes = bytes + #delivery
  if moved > 0 and (moved >= most or bytes > most_bytes) then return { 'MOVED', moved, found[1] } end
  redis.call('XADD', queue, '*', 'delivery', anew(delivery))
  redis.call('XDEL', failed, found[1])
  moved = moved + 1
end
if redis.call('XLEN', failed) == 0 then redis.call('DEL', failed) end
return { 'MOVED', moved, '' }
