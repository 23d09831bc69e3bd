-- fan out (leased): an event -> one delivery entry for each of these webhooks. If more webhooks are left, a new entry
-- for the event follows, with the webhook to continue after. An event without any webhook is done and counted.
-- KEYS  1 queue  2 counts  3 retries
-- ARGV  1 consumer  2 entry id  3 delivery count  4 the event's id ('': no webhook is left)  5 the last of these
--       webhooks
--       6… one delivery line for each of them
-- Answers DONE, LOST (another consumer has the lease), or REST (the queue takes no entry, because its last id is the
-- largest possible: these deliveries wait among the retries meanwhile, and an event with webhooks left stays where it
-- is).
local queue, counts, retries = KEYS[1], KEYS[2], KEYS[3]
local consumer, entry, deliveries, event_id, last = unpack(ARGV, 1, 5)
if not owns(queue, entry, consumer, deliveries) then return 'LOST' end

local function takes(...)
  local added = redis.pcall('XADD', queue, '*', ...)
  if type(added) == 'table' and not string.find(added.err, 'exhausted', 1, true) then error(added) end
  return type(added) == 'string'
end

local event = fields(queue, entry)
if event then
  for i = 6, #ARGV do
    local delivery = ARGV[i] .. '\n' .. envelope(event)
    if not takes('delivery', delivery) then redis.call('ZADD', retries, 'NX', now_ms(), delivery) end
  end
  if event_id ~= '' then
    local rest = { 'account', event.account, 'envelope', event.envelope, 'id', event_id, 'lynkhook:after', last }
    if event.traceparent then rest[9], rest[10] = 'traceparent', event.traceparent end
    if not takes(unpack(rest)) then return 'REST' end
  elseif #ARGV < 6 and not string.find(event['lynkhook:after'] or '', '^wh_%x+%-%x+%-%x+%-%x+%-%x+$') then
    count(counts, 'events_without_webhook', 1)
  end
end
done(queue, counts, entry)
return 'DONE'
