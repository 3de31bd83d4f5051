-- KEYS a key that nobody has; ARGV channel. Runs every command that scripts and store send, and names the one that the user may
-- not: it would be met at the first login otherwise.
local k = KEYS[1]
local all = {
  {'HSETNX', k, 'f', 1}, {'HSET', k, 'f', 1}, {'HGET', k, 'f'}, {'HMGET', k, 'f'}, {'HGETALL', k}, {'HKEYS', k}, {'HLEN', k},
  {'HDEL', k, 'f'}, {'INCR', k}, {'GET', k}, {'PEXPIRE', k, 1000}, {'PTTL', k}, {'UNLINK', k}, {'SADD', k, 1}, {'SMEMBERS', k},
  {'SREM', k, 1}, {'ZADD', k, 1, 1}, {'ZINCRBY', k, 1, 1}, {'ZCARD', k}, {'ZSCORE', k, 1}, {'ZRANGE', k, 0, -1},
  {'ZREVRANGE', k, 0, -1}, {'ZRANGEBYSCORE', k, 0, 9}, {'ZRANGEBYLEX', k, '-', '+'}, {'ZREM', k, 1}, {'SET', k, 1, 'PX', 1000},
  {'DEL', k}, {'PUBLISH', ARGV[1], ''}, {'TIME'}, {'SCAN', 0, 'COUNT', 1}
}
for _, c in ipairs(all) do
  local r = redis.pcall(unpack(c))
  if type(r) == 'table' and r.err then
    redis.pcall('UNLINK', k)
    if string.find(r.err, 'permission') or string.find(r.err, 'run this command') then return c[1] end
    return r
  end
end
return ''
