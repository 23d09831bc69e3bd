-- portal link: a new link to an account's portal -> stored, for its life.
-- KEYS  1 portal
-- ARGV  1 hash of the link's token  2 the link as JSON, without its end  3 its life in ms  4 most links of an account
-- Answers the link as it is stored. The oldest beyond the most are gone.
return admit(KEYS[1], ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]))
