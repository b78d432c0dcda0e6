-- beat: a life says that it lives and names what it holds; the answer says where it is wrong.
-- ARGV: 8 life, 9 number of record fields, then {field, value}, then held ids.
-- Answers {alive, {owned but not named: id, token...}, {canceling ids}, {named but not owned}}.
local life, fields = ARGV[8], tonumber(ARGV[9])
if redis.call('EXISTS', P .. 'worker:' .. life) == 0 then return {0, {}, {}, {}} end
redis.call('ZADD', P .. 'beats', now, life)
if fields > 0 then
  redis.call('HSET', P .. 'worker:' .. life, unpack(ARGV, 10, 9 + 2 * fields))
  local model = redis.call('HGET', P .. 'worker:' .. life, 'model')
  for i = 10, 8 + 2 * fields, 2 do
    if ARGV[i] == 'seconds_per_job' or ARGV[i] == 'result_bytes' then
      redis.call('HSET', P .. 'stats:' .. model, ARGV[i], ARGV[i + 1])
    end
  end
end
local named, owned = {}, {}
for i = 10 + 2 * fields, #ARGV do named[ARGV[i]] = true end
local unheld, canceling, lost = {}, {}, {}
local held = redis.call('HGETALL', P .. 'held:' .. life)
for i = 1, #held, 2 do
  local id = held[i]
  owned[id] = true
  if not named[id] then
    unheld[#unheld + 1] = id
    unheld[#unheld + 1] = held[i + 1]
  elseif redis.call('HGET', P .. 'job:' .. id, 'status') == 'canceling' then
    canceling[#canceling + 1] = id
  end
end
for id in pairs(named) do
  if not owned[id] then lost[#lost + 1] = id end
end
return {1, unheld, canceling, lost}
