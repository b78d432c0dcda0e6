-- uncall: erases a delivery that has ended. ARGV: 8 id. Answers 1, or 0 where it is pending or none.
local id = ARGV[8]
local d = delivery(id)
if not d or d.status == 'pending' then return 0 end
redis.call('DEL', P .. 'delivery:' .. id, P .. 'called:' .. id)
redis.call('ZREM', P .. 'undelivered', id)
redis.call('ZREM', P .. 'told:' .. d.owner, id)
keep_list(d.owner)
return 1
