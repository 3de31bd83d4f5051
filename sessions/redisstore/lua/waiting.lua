-- Transactions, codes and the ties of request_uris share one slot: their bound is one number.
-- KEYS[1] is only its name; W is in front of each of its keys.
local W = KEYS[1]
local function seq() return redis.call('INCR', W .. 'n') end
local function grow(ttl)
  for _, k in ipairs({ 'n', 'tu', 'm', 'c', 'ru', 'rq', 'cu', 'cq', 'xu', 'xq' }) do keep(W .. k, ttl) end
end
-- rank orders addresses: who holds most, then who came first.
local function rank(addr)
  local a = W .. 'a:' .. addr
  local n = redis.call('ZCARD', a)
  if n == 0 then
    redis.call('ZREM', W .. 'm', addr)
    return
  end
  local first = redis.call('ZRANGE', a, 0, 0, 'WITHSCORES')
  redis.call('ZADD', W .. 'm', n * 1073741824 - (tonumber(first[2]) % 1073741824), addr)
end
local function forget(key, addr)
  local t = redis.call('HMGET', W .. 't:' .. key, 'a', 'c')
  redis.call('DEL', W .. 't:' .. key)
  redis.call('ZREM', W .. 'tu', key)
  addr = t[1] or addr
  if addr then
    redis.call('ZREM', W .. 'a:' .. addr, key)
    rank(addr)
  end
  if t[2] and tonumber(redis.call('ZINCRBY', W .. 'c', -1, t[2])) <= 0 then redis.call('ZREM', W .. 'c', t[2]) end
end
-- take puts one of another kind into its lists, and the oldest out where they are full.
local function take(kind, key, till, limit)
  redis.call('ZADD', W .. kind .. 'u', till, key)
  redis.call('ZADD', W .. kind .. 'q', seq(), key)
  while redis.call('ZCARD', W .. kind .. 'q') > limit do
    local old = redis.call('ZRANGE', W .. kind .. 'q', 0, 0)[1]
    redis.call('ZREM', W .. kind .. 'q', old)
    redis.call('ZREM', W .. kind .. 'u', old)
    redis.call('DEL', W .. (kind == 'r' and 'r:' or 'k:') .. old)
  end
end
local function leave(kind, key)
  redis.call('ZREM', W .. kind .. 'u', key)
  redis.call('ZREM', W .. kind .. 'q', key)
end
