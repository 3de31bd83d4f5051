-- ARGV key, record, until, now, address, client, limit, ttl, token
local key, now = ARGV[1], tonumber(ARGV[4])
local t = redis.call('HMGET', W .. 't:' .. key, 'd', 'u', 'k')
if t[1] then
  if t[3] == ARGV[9] then return { 1, t[1], 0 } end -- this very call, sent again
  if tonumber(t[2]) > now then return { 0, t[1], 0 } end
  forget(key)
end
redis.call('HSET', W .. 't:' .. key, 'd', ARGV[2], 'u', ARGV[3], 'a', ARGV[5], 'c', ARGV[6], 'k', ARGV[9])
redis.call('PEXPIRE', W .. 't:' .. key, ARGV[8])
redis.call('ZADD', W .. 'tu', ARGV[3], key)
redis.call('ZADD', W .. 'a:' .. ARGV[5], seq(), key)
keep(W .. 'a:' .. ARGV[5], ARGV[8])
rank(ARGV[5])
redis.call('ZINCRBY', W .. 'c', 1, ARGV[6])
local out = 0
while redis.call('ZCARD', W .. 'tu') > tonumber(ARGV[7]) do
  local past = redis.call('ZRANGEBYSCORE', W .. 'tu', '-inf', now, 'LIMIT', 0, 1)[1]
  if past then
    forget(past)
  else
    local addr = redis.call('ZREVRANGE', W .. 'm', 0, 0)[1]
    if not addr then break end
    local old = redis.call('ZRANGE', W .. 'a:' .. addr, 0, 0)[1]
    if old then
      forget(old, addr)
      out = out + 1
    else
      redis.call('ZREM', W .. 'm', addr)
    end
  end
end
grow(ARGV[8])
return { 1, ARGV[2], out }
