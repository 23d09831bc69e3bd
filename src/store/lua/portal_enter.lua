-- portal enter: a link -> used, until its own end, and a session with the same rights.
-- KEYS  1 portal
-- ARGV  1 hash of the link's token  2 hash of the session's token  3 the session's life in ms
--       4 most sessions of an account, and most used links
-- Answers the session as it is stored, or '' (there is no such link: it was used, has ended, or never was). The oldest
-- sessions and used links beyond the most are gone.
local portal, most = KEYS[1], tonumber(ARGV[4])
local link = redis.call('HGET', portal, ARGV[1])
if not link then return '' end
local kind, its_end = kind_and_end(link)
local left = its_end - now_ms()
if kind ~= 'link' or left <= 0 then return '' end
-- Edits the value as text, so that its members keep their order.
local function as(new_kind)
  local value = string.gsub(link, '^{"kind":"link"', '{"kind":"' .. new_kind .. '"')
  return (string.gsub(value, ',"until":%d+}$', '}'))
end
-- A used link keeps its look, so that the page that refuses it leads back to the platform.
admit(portal, ARGV[1], as('used'), left, most)
return admit(portal, ARGV[2], as('session'), tonumber(ARGV[3]), most)
