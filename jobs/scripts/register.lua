-- register: a worker begins a life. Earlier lives of the same name are over: a lock on the machine
-- lets only one process use the name, so they are buried without waiting for their beats.
-- ARGV: 8 life, 9 name, then {field, value} of the worker's record. Answers what was adopted.
local life, name = ARGV[8], ARGV[9]
local adopted = {}
for _, other in ipairs(redis.call('ZRANGE', P .. 'beats', 0, -1)) do
  if other ~= life and string.match(other, '^(.*):[^:]+$') == name then
    for _, row in ipairs(bury(other, 2000, 'worker_restarted')) do adopted[#adopted + 1] = row end
  end
end
redis.call('ZADD', P .. 'beats', now, life)
redis.call('HSET', P .. 'worker:' .. life, 'name', name, 'registered_at', now,
  unpack(ARGV, 10, #ARGV))
flush()
return adopted
