-- KEYS note; ARGV at, until, now, token, slack
local at, till, token = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[4]
local first = 1
local v = redis.call('GET', KEYS[1])
if v then
  local a, u, t = string.match(v, '^(%d+) (%d+) (%S+)$')
  if t == token and u == '0' then return 0 end -- this very note, delivered again after it was dropped
  if a and (t == token or tonumber(u) > tonumber(ARGV[3])) then
    if t ~= token then first = 0 end -- else this very call, sent again
    at, till, token = math.max(at, tonumber(a)), math.max(till, tonumber(u)), t
  end
end
local s = string.format('%.0f %.0f %s', at, till, token)
redis.call('SET', KEYS[1], s, 'PX', math.max(1, till - tonumber(ARGV[3])) + ARGV[5])
return first
