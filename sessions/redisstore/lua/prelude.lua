-- In front of every script. Time is the server's own: replicas' clocks differ.
if redis.replicate_commands then redis.replicate_commands() end
local function now_ms()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end
local function keep(key, ttl)
  if redis.call('PTTL', key) < tonumber(ttl) then redis.call('PEXPIRE', key, ttl) end
end
-- hold says whether a lease is held by a token. One that ran out under a holder who went on
-- (retake 1: the store was away, its clock or the server is another one) is taken again where
-- nobody else had it since: whoever had would stand here. With retake 2 also where a change of
-- the holder's gave it back whose answer he did not get.
local function hold(key, token, prev, retake, ttl, rest)
  local now = now_ms()
  local h = redis.call('HMGET', key, 't', 'u')
  local who, till = h[1] or '', tonumber(h[2] or '0')
  if who == token and till > now then return true end
  if retake == '0' or till > now then return false end
  if who == token then
    if till == 0 and retake ~= '2' then return false end
  elseif who ~= prev and who ~= '' then
    return false
  end
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
