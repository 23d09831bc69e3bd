-- portal enter: a link -> gone, and a session with the same rights in its place.
-- KEYS  1 portal
-- ARGV  1 hash of the link's token  2 hash of the session's token  3 the session's life in ms
--       4 most sessions of an account
-- Answers the session as it is stored, or '' (there is no such link: it was used, has ended, or never was). The oldest
-- sessions beyond the most are gone.
local portal = KEYS[1]
local link = redis.call('HGET', portal, ARGV[1])
if not link then return '' end
local kind, its_end = kind_and_end(link)
if kind ~= 'link' then return '' end
redis.call('HDEL', portal, ARGV[1])
if its_end <= now_ms() then return '' end
-- Edits the value as text, so that its members keep their order.
local session = string.gsub(link, '^{"kind":"link"', '{"kind":"session"')
session = string.gsub(session, ',"until":%d+}$', '}')
return admit(portal, ARGV[2], session, tonumber(ARGV[3]), tonumber(ARGV[4]))
