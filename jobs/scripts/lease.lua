-- lease: deliveries that are due become this sender's for a while, endpoint after endpoint, those
-- that have waited longest first.
-- ARGV: 8 sender, 9 lease (ms), 10 most, 11 most of an endpoint, then {endpoint, its own most}.
-- Answers {now, when (ms) more may be due or '', rows}; a row is
-- {id, owner, tenant, type, url, endpoint, secret, body, tries, token, traceparent}.
local sender, lease = ARGV[8], tonumber(ARGV[9])
local most, each = tonumber(ARGV[10]), tonumber(ARGV[11])
-- Endpoints looked at; and deliveries of a disabled one that end in one call.
local LOOKED_AT, ENDED = 2000, 200
local room = {}
for i = 12, #ARGV, 2 do
  room[ARGV[i]] = tonumber(ARGV[i + 1])
  -- Those without room stay first in line: however many they are, others are looked at behind them.
  if room[ARGV[i]] == 0 then LOOKED_AT = LOOKED_AT + 1 end
end
local rows, ended = {}, 0

local function take(id, endpoint)
  local d = delivery(id)
  if not d or d.status ~= 'pending' then
    redis.call('ZREM', P .. 'calls:' .. endpoint, id)
    return
  end
  local token = sender .. ':' .. now .. '-' .. redis.call('INCR', P .. 'fence')
  redis.call('HSET', P .. 'delivery:' .. id, 'token', token)
  redis.call('ZADD', P .. 'calls:' .. endpoint, now + lease, id)
  rows[#rows + 1] = {id, d.owner, d.tenant, d.type, d.url, endpoint, d.secret or '', d.body,
    d.tries or '0', token, d.traceparent or ''}
end

for _, endpoint in ipairs(redis.call('ZRANGE', P .. 'lines', '-inf', now, 'BYSCORE',
    'LIMIT', 0, LOOKED_AT)) do
  if #rows >= most then break end
  local free = math.min(room[endpoint] or each, most - #rows)
  if disabled(endpoint) then
    for _, id in ipairs(redis.call('ZRANGE', P .. 'calls:' .. endpoint, 0, ENDED - ended - 1)) do
      local d = delivery(id)
      if d and d.status == 'pending' then
        end_delivery(id, d, 'disabled')
      else
        redis.call('ZREM', P .. 'calls:' .. endpoint, id)
      end
      ended = ended + 1
    end
    stand_in_line(endpoint)
    if ended >= ENDED then break end
  elseif free > 0 then
    for _, id in ipairs(redis.call('ZRANGE', P .. 'calls:' .. endpoint, '-inf', now, 'BYSCORE',
        'LIMIT', 0, free)) do
      take(id, endpoint)
    end
    stand_in_line(endpoint)
  end
end
local next_at = ''
if #rows >= most or ended >= ENDED then
  next_at = now
else
  local later = redis.call('ZRANGE', P .. 'lines', '(' .. now, '+inf', 'BYSCORE', 'LIMIT', 0, 1,
    'WITHSCORES')
  next_at = later[2] or ''
end
flush()
return {now, tostring(next_at), rows}
