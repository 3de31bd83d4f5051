-- KEYS lease, session (where the lease is of a grant); ARGV token, ttl, rest ttl, grant field
local s = {}
if KEYS[2] then
  s = redis.call('HMGET', KEYS[2], 'r', 's', 'o', ARGV[4])
  if not s[2] or not s[4] then return { 'none', s } end
end
local now = now_ms()
local h = redis.call('HMGET', KEYS[1], 't', 'u', 'p')
if h[1] == ARGV[1] then return { 'held', h[3] or '', s } end -- this very call, sent again
if h[1] and tonumber(h[2]) > now then
  -- No lease is longer: the clock was set back, or is another server's.
  local till = math.min(tonumber(h[2]), now + ARGV[2])
  redis.call('HSET', KEYS[1], 'w', 1, 'u', till)
  return { 'taken', till - now }
end
redis.call('HSET', KEYS[1], 't', ARGV[1], 'u', now + ARGV[2], 'p', h[1] or '')
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return { 'held', h[1] or '', s }
