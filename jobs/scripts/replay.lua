-- replay: a delivery is due at once, whatever became of it, and its endpoint is in service again.
-- ARGV: 8 id, 9 owner, 10 tenant. Answers 1, or 0 where there is no such delivery.
local id = ARGV[8]
local d = delivery(id)
if not d or d.owner ~= ARGV[9] or d.tenant ~= ARGV[10] then return 0 end
redis.call('DEL', P .. 'endpoint:' .. d.endpoint)
redis.call('ZREM', P .. 'failing', d.endpoint)
-- One that is due or being tried is left to whoever has it.
if d.status == 'pending' and not redis.call('ZSCORE', P .. 'retry', id) then return 1 end
redis.call('ZREM', P .. 'retry', id)
redis.call('ZREM', P .. 'undelivered', id)
redis.call('HSET', P .. 'delivery:' .. id, 'status', 'pending', 'next_at', '', 'token', '', 'tries', 0)
for _, key in ipairs({'delivery:' .. id, 'called:' .. id, 'told:' .. d.owner}) do
  redis.call('PERSIST', P .. key)
end
keep_owner(d.owner, now + DAY)
call_at(id, d.endpoint, now)
ring_senders()
flush()
return 1
