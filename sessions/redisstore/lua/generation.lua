-- KEYS[1] names the slot; ARGV ttl of the generation. It answers the generation in force and how many proofs are remembered
local R = KEYS[1]
local gen = redis.call('GET', R .. 'gen')
if not gen then
  gen = string.format('%.0f', now_ms())
  redis.call('SET', R .. 'gen', gen)
end
keep(R .. 'gen', ARGV[1])
local count = 0
for _, list in ipairs({ R .. 'b:0', R .. 'b:' .. gen }) do
  for _, b in ipairs(redis.call('SMEMBERS', list)) do count = count + redis.call('HLEN', list .. ':' .. b) end
end
return { gen, count }
