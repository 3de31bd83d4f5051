-- KEYS note; ARGV ttl. Not deleted: a replica that made the note looks whether it was lost, and an
-- outbox that it is in may be delivered again.
local v = redis.call('GET', KEYS[1])
redis.call('SET', KEYS[1], '0 0 ' .. (v and string.match(v, '(%S+)$') or '-'), 'PX', ARGV[1])
return 1
