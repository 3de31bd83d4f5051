-- In front of every script. Time is the server's own: replicas' clocks differ.
if redis.replicate_commands then redis.replicate_commands() end
local function now_ms()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end
local function keep(key, ttl)
  if redis.call('PTTL', key) < tonumber(ttl) then redis.call('PEXPIRE', key, ttl) end
end
-- hold says whether a lease is held by a token. One that ran out while the store
-- did not answer (retake) is taken again where nobody else had it since.
local function hold(key, token, prev, retake, ttl, rest)
  local now = now_ms()
  local h = redis.call('HMGET', key, 't', 'u')
  local who, till = h[1] or '', tonumber(h[2] or '0')
  if who == token and till > now then return true end
  if retake ~= '1' or till > now then return false end
  if not ((who == token and till ~= 0) or who == prev) then return false end
  redis.call('HSET', key, 't', token, 'u', now + ttl, 'p', prev)
  redis.call('PEXPIRE', key, rest)
  return true
end
local function release(key, token, channel, message)
  local h = redis.call('HMGET', key, 't', 'w')
  if h[1] ~= token then return end
  redis.call('HSET', key, 'u', 0)
  if h[2] then
    redis.call('HDEL', key, 'w')
    redis.call('PUBLISH', channel, message)
  end
end
