-- KEYS session; ARGV revision, ttl, then field and value each
local r = redis.call('HGET', KEYS[1], 'r')
if r then return string.find(r, ARGV[1], 1, true) and 1 or 0 end
redis.call('HSET', KEYS[1], 'r', ARGV[1])
for i = 3, #ARGV, 2 do redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
