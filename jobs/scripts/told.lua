-- told: what came of tries. ARGV: 8 ms of nothing but failures that disable an endpoint, then
-- {id, token, verdict, next_at (ms) or '', try (JSON)}; verdict is delivered, retry, failed, gone or
-- back. Answers the status of each delivery now, '' for one that is no more.
-- A result under a lease that has run out is logged; a success counts whoever brings it.
local LIMIT = tonumber(ARGV[8])
local MOST_TRIES = 50
local statuses = {}

local function disable(endpoint, reason)
  redis.call('HSET', P .. 'endpoint:' .. endpoint, 'disabled_at', now, 'reason', reason)
end

-- Nothing but failures since the first of them.
local function endpoint_failed(d)
  local key = P .. 'endpoint:' .. d.endpoint
  redis.call('HSET', key, 'tenant', d.tenant, 'url', d.url)
  redis.call('HSETNX', key, 'failing_since', now)
  redis.call('PEXPIRE', key, ENDPOINT_KEPT)
  redis.call('ZADD', P .. 'failing', now, d.endpoint)
  redis.call('ZREMRANGEBYSCORE', P .. 'failing', '-inf', now - ENDPOINT_KEPT)
  if now - redis.call('HGET', key, 'failing_since') >= LIMIT and not disabled(d.endpoint) then
    disable(d.endpoint, 'failing')
  end
end

local function endpoint_answered(endpoint)
  if redis.call('DEL', P .. 'endpoint:' .. endpoint) == 1 then
    redis.call('ZREM', P .. 'failing', endpoint)
  end
end

local function log_try(id, try)
  local key = P .. 'called:' .. id
  -- Once more by this very call, whose answer was lost.
  if redis.call('LINDEX', key, -1) == try then return false end
  redis.call('RPUSH', key, try)
  redis.call('LTRIM', key, -MOST_TRIES, -1)
  -- The first try of one that has ended already: no longer than the delivery.
  local left = redis.call('PTTL', P .. 'delivery:' .. id)
  if left > 0 then redis.call('PEXPIRE', key, left) end
  return true
end

local function note(id, d, mine, verdict, next_at)
  if verdict == 'delivered' then
    endpoint_answered(d.endpoint)
    if d.status ~= 'delivered' then end_delivery(id, d, 'delivered') end
    return 'delivered'
  end
  endpoint_failed(d)
  if verdict == 'gone' and not disabled(d.endpoint) then disable(d.endpoint, 'gone') end
  if d.status ~= 'pending' or not mine then return d.status end
  redis.call('HINCRBY', P .. 'delivery:' .. id, 'tries', 1)
  if ON_THE_WAY[d.type] then
    end_delivery(id, d, 'dropped')
    return 'dropped'
  end
  if disabled(d.endpoint) then
    end_delivery(id, d, 'disabled')
    return 'disabled'
  end
  if verdict == 'failed' then
    end_delivery(id, d, 'failed')
    return 'failed'
  end
  leave_calls(id, d.endpoint)
  redis.call('HSET', P .. 'delivery:' .. id, 'next_at', next_at, 'token', '')
  redis.call('ZADD', P .. 'retry', next_at, id)
  -- Nobody may send for a while: then it is kept for longer than it would be after its last try.
  keep_delivery(id, d.owner, next_at + LONGEST_UNTOLD)
  keep_owner(d.owner, next_at + DAY + DAY)
  return 'pending'
end

for i = 9, #ARGV, 5 do
  local id, token, verdict = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local d = delivery(id)
  local status = ''
  if d then
    local mine = d.token == token
    status = d.status
    if verdict == 'back' then
      if mine and status == 'pending' then call_at(id, d.endpoint, now) end
    elseif log_try(id, ARGV[i + 4]) then
      status = note(id, d, mine, verdict, tonumber(ARGV[i + 3]))
    end
  end
  statuses[#statuses + 1] = status
end
flush()
return statuses
