-- KEYS meta; ARGV format. What stands there: the format, and the name of an import under way.
redis.call('HSETNX', KEYS[1], 'format', ARGV[1])
return redis.call('HMGET', KEYS[1], 'format', 'import')
