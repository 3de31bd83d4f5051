-- KEYS session; ARGV outbox that was delivered
if redis.call('HGET', KEYS[1], 'o') == ARGV[1] then redis.call('HDEL', KEYS[1], 'o') end
return 1
