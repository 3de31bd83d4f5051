-- KEYS session, lease of its slot (or the session again)
-- ARGV expected revision, new revision, record, ttl, channel, message, all grants go (1),
--   outbox, lease's token, token before, retake (1, 2), lease ttl, rest ttl, release (1), release
--   message, not after (ms or 0), number of grants to put, then field and grant each, then
--   fields to drop
local r = redis.call('HGET', KEYS[1], 'r')
if not r then return 'gone' end
if string.find(r, ARGV[2], 1, true) then return 'ok' end -- this very call, sent again
if ARGV[9] ~= '' and not hold(KEYS[2], ARGV[9], ARGV[10], ARGV[11], ARGV[12], ARGV[13]) then return 'lost' end
local after = tonumber(ARGV[16])
if after > 0 and now_ms() > after then return 'late' end
if string.sub(r, 1, 16) ~= ARGV[1] then return 'conflict' end
if ARGV[7] == '1' then
  for _, f in ipairs(redis.call('HKEYS', KEYS[1])) do
    if string.sub(f, 1, 1) == 'g' then redis.call('HDEL', KEYS[1], f) end
  end
end
local n = tonumber(ARGV[17])
for i = 18, 17 + 2 * n, 2 do redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
for i = 18 + 2 * n, #ARGV do redis.call('HDEL', KEYS[1], ARGV[i]) end
redis.call('HSET', KEYS[1], 'r', ARGV[2] .. string.sub(r, 1, 112), 's', ARGV[3])
if ARGV[8] ~= '' then redis.call('HSET', KEYS[1], 'o', ARGV[8]) end
redis.call('PEXPIRE', KEYS[1], ARGV[4])
if ARGV[9] ~= '' and ARGV[14] == '1' then release(KEYS[2], ARGV[9], ARGV[5], ARGV[15]) end
redis.call('PUBLISH', ARGV[5], ARGV[6])
return 'ok'
