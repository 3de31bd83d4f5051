-- KEYS sorted set; ARGV score (empty: now), member, ttl, condition (LT or empty). LT: not later
-- than it is, and never the same, so that who takes it out again sees that it was filed since.
local score = tonumber(ARGV[1]) or now_ms()
if ARGV[4] == 'LT' then
  local s = redis.call('ZSCORE', KEYS[1], ARGV[2])
  if s then score = math.min(score, tonumber(s) - 1) end
end
score = string.format('%.0f', score)
redis.call('ZADD', KEYS[1], score, ARGV[2])
keep(KEYS[1], ARGV[3])
return score
