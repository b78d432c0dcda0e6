-- calls: the log of deliveries. ARGV: 8 a job or batch or '', then ids of deliveries. Of one that
-- is told of more often the last thousand: the end is among them.
-- Answers {id, record without body and secret, tries} of each that is there, oldest first.
local ids = ARGV[8] == '' and {} or redis.call('ZRANGE', P .. 'told:' .. ARGV[8], -1000, -1)
for i = 9, #ARGV do ids[#ids + 1] = ARGV[i] end
local NAMES = {'owner', 'tenant', 'type', 'url', 'endpoint', 'status', 'created_at', 'next_at'}
local rows = {}
for _, id in ipairs(ids) do
  local values = redis.call('HMGET', P .. 'delivery:' .. id, unpack(NAMES))
  if values[1] then
    rows[#rows + 1] = {id, values, redis.call('LRANGE', P .. 'called:' .. id, 0, -1)}
  end
end
return rows
