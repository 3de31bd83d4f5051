-- KEYS session; the time first, then what stands
return { now_ms(), redis.call('HGETALL', KEYS[1]) }
