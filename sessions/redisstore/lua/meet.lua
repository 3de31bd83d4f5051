-- ARGV key, record as it was, record
if redis.call('HGET', W .. 't:' .. ARGV[1], 'd') ~= ARGV[2] then return 0 end
redis.call('HSET', W .. 't:' .. ARGV[1], 'd', ARGV[3])
return 1
