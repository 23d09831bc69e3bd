-- may: whether the user may run some commands. Runs none of them, and leaves no entry in Redis's ACL LOG. Changes nothing.
-- KEYS  none, so that every node of a cluster answers
-- ARGV  1 the commands, in JSON: [[word, …], …]
-- Answers 1 if the user may run all of them, else 0. A command that this Redis does not know is an error.
for _, command in ipairs(cjson.decode(ARGV[1])) do
  if not redis.acl_check_cmd(unpack(command)) then return 0 end
end
return 1
