-- Behind the prelude in the scripts about deliveries. One that is pending stands in
-- `calls:<endpoint>` from when it is due, or in `retry` until it may be tried again; `lines` says
-- which endpoints have calls.
local DELIVERY_KEPT = 7 * DAY
local ENDPOINT_KEPT = 30 * DAY
-- Told once, if at all.
local ON_THE_WAY = {['job.started'] = true, ['job.progress'] = true}

local function delivery(id)
  local flat = redis.call('HGETALL', P .. 'delivery:' .. id)
  if #flat == 0 then return nil end
  local d = {}
  for i = 1, #flat, 2 do
    if flat[i + 1] ~= '' then d[flat[i]] = flat[i + 1] end
  end
  return d
end

-- An endpoint stands in line by its earliest call.
local function stand_in_line(endpoint)
  local first = redis.call('ZRANGE', P .. 'calls:' .. endpoint, 0, 0, 'WITHSCORES')
  if first[1] then
    redis.call('ZADD', P .. 'lines', first[2], endpoint)
  else
    redis.call('ZREM', P .. 'lines', endpoint)
  end
end

local function call_at(id, endpoint, at)
  redis.call('ZADD', P .. 'calls:' .. endpoint, at, id)
  stand_in_line(endpoint)
end

-- Takes a delivery out of wherever it waits.
local function leave_calls(id, endpoint)
  redis.call('ZREM', P .. 'calls:' .. endpoint, id)
  redis.call('ZREM', P .. 'retry', id)
  stand_in_line(endpoint)
end

-- Kept until then, and never shorter than before; what had no end of life gets one.
local function live_until(key, at)
  local left = redis.call('PTTL', key)
  if left == -1 or (left >= 0 and now + left < at) then redis.call('PEXPIREAT', key, at) end
end

-- The list of an owner's deliveries lives as the last of them. On the way there may be thousands;
-- what is told for longest is among the newest.
local function keep_list(owner)
  local key, longest = P .. 'told:' .. owner, 0
  for _, id in ipairs(redis.call('ZREVRANGE', key, 0, 99)) do
    local left = redis.call('PTTL', P .. 'delivery:' .. id)
    if left == -1 then return redis.call('PERSIST', key) end
    longest = math.max(longest, left)
  end
  if longest > 0 then redis.call('PEXPIRE', key, longest) else redis.call('DEL', key) end
end

local function keep_delivery(id, owner, at)
  live_until(P .. 'delivery:' .. id, at)
  live_until(P .. 'called:' .. id, at)
  keep_list(owner)
end

-- Links in what was told must work for a day: a job that has ended is kept as long, and what belongs
-- to it for as long as the sweep may leave it there, for what is still untold.
local function keep_job(id, at)
  local key = P .. 'job:' .. id
  local has = redis.call('HMGET', key, 'status', 'retained_until')
  if not FINAL[has[1]] or tonumber(has[2]) >= at then return end
  redis.call('HSET', key, 'retained_until', at)
  due_at(id, at)
  for _, kind in ipairs({'input:', 'output:', 'extra:', 'progress:', 'tries:'}) do
    live_until(P .. kind .. id, at + BACKSTOP + 7 * DAY)
  end
end

local function keep_owner(id, at)
  if string.sub(id, 1, 4) == 'job_' then return keep_job(id, at) end
  for _, job in ipairs(redis.call('ZRANGE', P .. 'batch:' .. id .. ':jobs', 0, -1)) do
    keep_job(job, at)
  end
end

-- One event of a job or batch less is untold.
local function was_told(id)
  local kind = string.sub(id, 1, 4) == 'job_' and 'job:' or 'batch:'
  if redis.call('EXISTS', P .. kind .. id) == 1 then
    -- An event of a worker of the version before is in nobody's count.
    if redis.call('HINCRBY', P .. kind .. id, 'untold', -1) < 0 then
      redis.call('HSET', P .. kind .. id, 'untold', 0)
    end
  elseif redis.call('EXISTS', P .. 'gone:' .. id) == 1 and
      redis.call('HINCRBY', P .. 'gone:' .. id, 'untold', -1) <= 0 then
    redis.call('DEL', P .. 'gone:' .. id)
  end
end

local function end_delivery(id, d, status)
  -- There is nothing to repair about what is out of date by then.
  if status == 'disabled' and ON_THE_WAY[d.type] then status = 'dropped' end
  leave_calls(id, d.endpoint)
  redis.call('HSET', P .. 'delivery:' .. id, 'status', status, 'next_at', '', 'token', '')
  redis.call('ZREMRANGEBYSCORE', P .. 'undelivered', '-inf', now - DELIVERY_KEPT)
  if status == 'failed' or status == 'disabled' then
    redis.call('ZADD', P .. 'undelivered', now, id)
  else
    redis.call('ZREM', P .. 'undelivered', id)
  end
  -- From its end on, also where it was to be kept longer for a retry.
  redis.call('PEXPIRE', P .. 'delivery:' .. id, DELIVERY_KEPT)
  redis.call('PEXPIRE', P .. 'called:' .. id, DELIVERY_KEPT)
  keep_list(d.owner)
  keep_owner(d.owner, now + DAY)
end

local function disabled(endpoint)
  return redis.call('HEXISTS', P .. 'endpoint:' .. endpoint, 'disabled_at') == 1
end
