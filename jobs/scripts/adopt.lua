-- adopt: buries lives whose beat is older than the limit and returns their jobs to the line.
-- ARGV: 8 beat limit (ms), 9 for how long (ms) the caller has reached this Redis without a break,
-- 10 most jobs to move. Whoever was cut off itself, or sees Redis come back, must wait a whole
-- limit, so that an outage of Redis buries nobody.
local limit, unbroken, most = tonumber(ARGV[8]), tonumber(ARGV[9]), tonumber(ARGV[10])
if unbroken < limit then return {} end
local adopted = {}
-- A clock that was set back leaves beats in the future: from now on they age.
for _, life in ipairs(redis.call('ZRANGEBYSCORE', P .. 'beats', now + 1, '+inf')) do
  redis.call('ZADD', P .. 'beats', now, life)
end
for _, life in ipairs(redis.call('ZRANGEBYSCORE', P .. 'beats', '-inf', now - limit)) do
  if #adopted >= most then break end
  for _, row in ipairs(bury(life, most - #adopted, 'worker_lost')) do adopted[#adopted + 1] = row end
end
flush()
return adopted
