-- KEYS session; ARGV expected revision
local r = redis.call('HGET', KEYS[1], 'r')
if r and string.sub(r, 1, 16) ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1])
return 1
