-- ARGV now, limit
local n, limit = 0, tonumber(ARGV[2])
local function past(list) return redis.call('ZRANGEBYSCORE', W .. list, '-inf', ARGV[1], 'LIMIT', 0, limit - n) end
for _, key in ipairs(past('tu')) do
  forget(key)
  n = n + 1
end
for _, kind in ipairs({ 'r', 'c', 'x' }) do
  if n < limit then
    for _, key in ipairs(past(kind .. 'u')) do
      leave(kind, key)
      redis.call('DEL', W .. (kind == 'r' and 'r:' or 'k:') .. key)
      n = n + 1
    end
  end
end
local more = 0
if n >= limit then
  limit = n + 1
  for _, list in ipairs({ 'tu', 'ru', 'cu', 'xu' }) do
    if #past(list) > 0 then more = 1 end
  end
end
return { n, more }
