-- KEYS sorted set; ARGV member, age: only an entry that was put longer ago than this. A younger
-- one may be of a change that is not yet there.
local s = redis.call('ZSCORE', KEYS[1], ARGV[1])
if s and tonumber(s) <= now_ms() - ARGV[2] then return redis.call('ZREM', KEYS[1], ARGV[1]) end
return 0
