-- Everything that belongs to one webhook. Takes `counts`.

-- Drops and counts everything that belongs to a webhook except its settings; answers the numbers of its held and failed
-- deliveries. A key of a wrong type goes too, uncounted. UNLINK frees in the background, so one step is enough for any
-- number.
local function drop_webhook(webhook, member, logs, held, failed, visits, releases, counts, sums)
  local function length(key)
    local entries = redis.pcall('XLEN', key)
    return type(entries) == 'number' and entries or 0
  end
  local were_held, had_failed = length(held), length(failed)
  count(counts, 'deliveries_of_deleted_webhook', were_held)
  count(counts, 'failed_of_deleted_webhook', had_failed)
  redis.call('UNLINK', logs, held, failed)
  redis.pcall('ZREM', visits, member)
  redis.pcall('ZREM', releases, member)
  redis.pcall('HDEL', sums, webhook)
  return were_held, had_failed
end

-- Whether the oldest delivery at a key names another account than `member`. Then somebody wrote a wrong member.
local function names_another(key, webhook, member)
  local found = redis.pcall('XRANGE', key, '-', '+', 'COUNT', '1')
  local line = not found.err and found[1] and string.match(found[1][2][2], '^[^\n]*')
  local readable, delivery = pcall(cjson.decode, line or '')
  if not readable or type(delivery) ~= 'table' or type(delivery.account) ~= 'string' then return false end
  return delivery.account .. '/' .. webhook ~= member
end
