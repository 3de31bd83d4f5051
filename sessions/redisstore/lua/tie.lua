-- ARGV uri, key, until, limit, ttl
redis.call('HSET', W .. 'r:' .. ARGV[1], 'd', ARGV[2], 'u', ARGV[3])
redis.call('PEXPIRE', W .. 'r:' .. ARGV[1], ARGV[5])
take('r', ARGV[1], ARGV[3], tonumber(ARGV[4]))
grow(ARGV[5])
return 1
