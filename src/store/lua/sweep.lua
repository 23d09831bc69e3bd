-- sweep: rejected entries past their retention -> gone, counted.
-- KEYS  1 rejected  2 counts
-- ARGV  1 retention in ms
-- Answers 1 if more of them may be too old, so that the script has to run again, else 0.
local _, more = drop_old(KEYS[1], now_ms() - ARGV[1], KEYS[2], 'rejected_expired')
return more and 1 or 0
