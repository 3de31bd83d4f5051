-- KEYS lease; ARGV token, token before, retake (1), ttl, rest ttl
if not hold(KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]) then return 0 end
redis.call('HSET', KEYS[1], 'u', now_ms() + ARGV[4])
redis.call('PEXPIRE', KEYS[1], ARGV[5])
return 1
