-- ARGV hash, what was seen (a record), seen (1), exchanged (1), until, now, limit, ttl
local k, till = W .. 'k:' .. ARGV[1], tonumber(ARGV[5])
local seen, data, used = ARGV[3], ARGV[2], ARGV[4]
local c = redis.call('HMGET', k, 'd', 's', 'x', 'u')
if c[1] and tonumber(c[4]) > tonumber(ARGV[6]) then
  if c[2] == '1' then seen, data = '1', c[1] end -- what was seen first stays
  if c[3] == '1' then used = '1' end
  till = math.max(till, tonumber(c[4]))
end
redis.call('HSET', k, 'd', data, 's', seen, 'x', used, 'u', string.format('%.0f', till))
keep(k, ARGV[8])
leave(used == '1' and 'c' or 'x', ARGV[1])
take(used == '1' and 'x' or 'c', ARGV[1], string.format('%.0f', till), tonumber(ARGV[7]))
grow(ARGV[8])
return 1
