-- KEYS sorted set; ARGV score (empty: now), member, ttl, condition (LT or empty)
local score = ARGV[1]
if score == '' then score = now_ms() end
if ARGV[4] == '' then
  redis.call('ZADD', KEYS[1], score, ARGV[2])
else
  redis.call('ZADD', KEYS[1], ARGV[4], score, ARGV[2])
end
keep(KEYS[1], ARGV[3])
return 1
