-- KEYS[1] names the slot; ARGV generation (0: none), entry, token, ttl, bucket, limit, generations (1),
--   ttl of the generation, channel, message that the generation goes behind
local R = KEYS[1]
local gen = redis.call('GET', R .. 'gen')
if not gen then -- a new memory: no nonce of an older one is good
  gen = string.format('%.0f', now_ms())
  redis.call('SET', R .. 'gen', gen)
  redis.call('PUBLISH', ARGV[9], ARGV[10] .. gen)
end
keep(R .. 'gen', ARGV[8])
local tied = ARGV[7] == '1' and ARGV[1] ~= '0'
local lists = { R .. 'b:0', R .. 'b:' .. gen }
local count = 0
local mine = tied and lists[2] or lists[1]
if not (tied and ARGV[1] ~= gen) then
  for _, list in ipairs(lists) do
    for _, b in ipairs(redis.call('SMEMBERS', list)) do
      local bucket = list .. ':' .. b
      local n = redis.call('HLEN', bucket)
      if n == 0 then
        redis.call('SREM', list, b)
      elseif list == mine then
        local who = redis.call('HGET', bucket, ARGV[2])
        if who == ARGV[3] then return { 1, gen } end -- this very call, sent again
        if who then return { 2, gen } end
      end
      count = count + n
    end
  end
end
if tied and ARGV[1] ~= gen then return { 3, gen } end
if count >= tonumber(ARGV[6]) then
  if ARGV[7] ~= '1' or #redis.call('SMEMBERS', lists[2]) == 0 then return { 0, gen } end
  for _, b in ipairs(redis.call('SMEMBERS', lists[2])) do redis.call('UNLINK', lists[2] .. ':' .. b) end
  redis.call('DEL', lists[2])
  gen = string.format('%.0f', tonumber(gen) + 1)
  redis.call('SET', R .. 'gen', gen, 'PX', ARGV[8])
  redis.call('PUBLISH', ARGV[9], ARGV[10] .. gen)
  if tied then return { 3, gen } end
end
local bucket = mine .. ':' .. ARGV[5]
redis.call('HSET', bucket, ARGV[2], ARGV[3])
keep(bucket, ARGV[4])
redis.call('SADD', mine, ARGV[5])
keep(mine, ARGV[4])
return { 1, gen }
