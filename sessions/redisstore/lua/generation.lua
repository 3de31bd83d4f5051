-- KEYS[1] names the slot; ARGV ttl of the generation, channel, message that the generation goes
--   behind, how long before its end (ms) a bucket is taken out. It answers the generation in force and how many proofs are remembered.
local R = KEYS[1]
local gen = redis.call('GET', R .. 'gen')
-- Another server, or this one started again, may have lost the newest proofs: nothing of before
-- counts with it.
local info = redis.pcall('INFO', 'server')
local server = type(info) == 'string' and string.match(info, 'run_id:(%w+)') or ''
if not gen or server ~= (redis.call('GET', R .. 'server') or '') then
  local now, was = now_ms(), gen
  if was then
    for _, b in ipairs(redis.call('SMEMBERS', R .. 'b:' .. was)) do redis.call('UNLINK', R .. 'b:' .. was .. ':' .. b) end
    redis.call('DEL', R .. 'b:' .. was)
    now = math.max(now, tonumber(was) + 1)
  end
  gen = string.format('%.0f', now)
  redis.call('SET', R .. 'gen', gen)
  redis.call('SET', R .. 'server', server, 'PX', ARGV[1])
  redis.call('PUBLISH', ARGV[2], ARGV[3] .. gen)
end
keep(R .. 'gen', ARGV[1])
keep(R .. 'server', ARGV[1])
local count = 0
for _, list in ipairs({ R .. 'b:0', R .. 'b:' .. gen }) do
  for _, b in ipairs(redis.call('SMEMBERS', list)) do
    local bucket = list .. ':' .. b
    if redis.call('PTTL', bucket) < tonumber(ARGV[4]) then
      -- Left to expire, a large one would hold up the server while it is freed.
      redis.call('UNLINK', bucket)
      redis.call('SREM', list, b)
    else
      count = count + redis.call('HLEN', bucket)
    end
  end
end
return { gen, count }
