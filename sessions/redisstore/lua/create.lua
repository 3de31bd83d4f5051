-- KEYS session; ARGV revision, record, grant field, grant, outbox, ttl, channel, message
local r = redis.call('HGET', KEYS[1], 'r')
if r then
  if string.find(r, ARGV[1], 1, true) then return 'ok' end -- this very call, sent again
  return 'there'
end
redis.call('HSET', KEYS[1], 'r', ARGV[1], 's', ARGV[2], ARGV[3], ARGV[4])
if ARGV[5] ~= '' then redis.call('HSET', KEYS[1], 'o', ARGV[5]) end
redis.call('PEXPIRE', KEYS[1], ARGV[6])
redis.call('PUBLISH', ARGV[7], ARGV[8])
return 'ok'
