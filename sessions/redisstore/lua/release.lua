-- KEYS lease; ARGV token, channel, message
release(KEYS[1], ARGV[1], ARGV[2], ARGV[3])
return 1
