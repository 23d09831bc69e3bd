-- fan out (leased): an event -> one delivery entry for each matching webhook; with none it is done and counted.
-- KEYS  1 queue  2 counts
-- ARGV  1 consumer  2 entry id  3 delivery count  4… one delivery line for each matching webhook
-- Answers DONE, or LOST where the lease is another's.
local queue, counts = KEYS[1], KEYS[2]
local consumer, entry, deliveries = ARGV[1], ARGV[2], ARGV[3]
if not holds(queue, entry, consumer, deliveries) then return 'LOST' end

local event = fields(queue, entry)
if event then
  for i = 4, #ARGV do
    redis.call('XADD', queue, '*', 'delivery', ARGV[i] .. '\n' .. envelope(event))
  end
  count(counts, 'events_without_webhook', #ARGV < 4 and 1 or 0)
end
done(queue, counts, entry)
return 'DONE'
