-- claim: takes up to `count` queued jobs of one model version for one worker life; with `start`
-- they are running at once (the engine is idle), else they stay queued for the world.
-- ARGV: 8 life, 9 model, 10 version, 11 count, 12 start, 13 steal, 14 traced (may be missing).
-- Answers {alive, rows, expired}: a life that was buried gets nothing; a job whose deadline has
-- passed ends here. With `traced` a row ends with what the job's trace needs.
local life, model, version, count = ARGV[8], ARGV[9], ARGV[10], tonumber(ARGV[11])
local start, steal, traced = ARGV[12] == '1', ARGV[13] == '1', ARGV[14] == '1'
local target = model .. '@' .. version
if redis.call('EXISTS', P .. 'worker:' .. life) == 0 then return {0, {}, 0} end

-- The time makes tokens unique even after a failover to a replica that lost the counter.
local token = nil
local function mint()
  if not token then token = now .. '-' .. redis.call('INCR', P .. 'fence') end
  return token
end

local rows, changes, held, expired, began = {}, {}, {}, 0, 0
-- Inputs in one answer, in bytes: jobs/worker_queue.py takes an answer so large for a cut one.
local MOST, bytes = 2097152, 0
local CLAIMED = {'status', 'tenant', 'priority', 'timeout_s', 'created_at', 'deadline_at',
  'retries', 'crashes', 'request_id', 'attempt', 'worker', 'batch', 'vanished', 'webhook'}

-- The traceparent is the last member of `extra`, which may be long. Of an attempt before, how it
-- ended: whoever died with it could not tell.
local function trace_of(id, began_before)
  local ending = redis.call('GETRANGE', P .. 'extra:' .. id, -560, -1)
  local parent = string.match(ending, '"traceparent":"([^"]+)"}$') or ''
  local text = began_before and redis.call('LINDEX', P .. 'tries:' .. id, -1)
  if not text then return parent, '' end
  local last = cjson.decode(text)
  last.detail = nil
  return parent, cjson.encode(last)
end

-- The job is already out of its lane.
local function take(id)
  local v = redis.call('HMGET', P .. 'job:' .. id, unpack(CLAIMED))
  if v[1] ~= 'queued' then return end
  if v[6] and tonumber(v[6]) <= now then
    local r = record(id)
    r.entry = nil
    finish(id, r, 'expired', EXPIRED)
    expired = expired + 1
    return
  end
  local input = redis.call('GET', P .. 'input:' .. id)
  bytes = bytes + #(input or '')
  local attempt = (v[7] or 0) + 1
  local fields = {'token', mint(), 'worker', life, 'entry', ''}
  held[#held + 1] = id
  held[#held + 1] = token
  -- A suspect runs alone: it is started by itself later, not with these.
  local suspected = suspect(v[8], v[13])
  local begins = start and not suspected
  if begins then
    for _, value in ipairs({'status', 'running', 'started_at', now, 'attempt', attempt}) do
      fields[#fields + 1] = value
    end
    undue[#undue + 1] = id
    began = began + 1
    moved({model = model, batch = v[12]}, 'queued', 'running')
    tell_outbox(id, {webhook = v[14]}, 'started')
  end
  changes[#changes + 1] = fields
  rows[#rows + 1] = {id, token, input or '', v[2], v[3], attempt, v[8] or (suspected and 1 or 0), v[4],
    v[6] or '', v[9] or '', v[5], begins and 1 or 0}
  if traced then
    local row = rows[#rows]
    row[13], row[14] = trace_of(id, v[10])
  end
end

local returned = P .. 'returned:' .. target
for _, id in ipairs(redis.call('ZRANGE', returned, 0, count - 1)) do
  if bytes >= MOST then break end
  redis.call('ZREM', returned, id)
  take(id)
end

local turn = P .. 'turn:' .. target
-- Jobs past their deadline give no row; a lane full of them must not hold up Redis.
while #rows < count and expired < 256 and bytes < MOST do
  local head = redis.call('ZRANGE', turn, 0, 1, 'WITHSCORES')
  if not head[1] then break end
  local name, score = head[1], tonumber(head[2])
  local weight = WEIGHT[string.match(name, '^(%a+):')]
  local want = count - #rows
  -- A lane keeps the turn until it has used up its lead over the next one.
  want = math.min(want, 2000)
  if head[3] then want = math.min(want, math.floor((head[4] - score) * weight) + 1) end
  local lane, pins = P .. 'lane:' .. target .. ':' .. name, P .. 'pins:' .. target .. ':' .. name
  local free = redis.call('XRANGE', lane, '-', '+', 'COUNT', want)
  local pinned = redis.call('XRANGE', pins, '-', '+', 'COUNT', want)
  local gone, gone_pinned = {}, {}
  while #gone + #gone_pinned < want and bytes < MOST do
    local a, b = free[#gone + 1], pinned[#gone_pinned + 1]
    if not a and not b then break end
    -- By age over both lines: of one shard, ids sort by time.
    if a and not (b and b[2][2] < a[2][2]) then
      gone[#gone + 1] = a[1]
      take(a[2][2])
    else
      gone_pinned[#gone_pinned + 1] = b[1]
      take(b[2][2])
    end
  end
  if #gone > 0 then redis.call('XDEL', lane, unpack(gone)) end
  if #gone_pinned > 0 then redis.call('XDEL', pins, unpack(gone_pinned)) end
  if not drop_if_empty(target, name) then
    redis.call('ZADD', turn, score + (#gone + #gone_pinned) / weight, name)
  end
end

-- An idle worker may take half of what another has claimed but not started, and the last one: that
-- other may be at a batch which takes far longer than expected, or asleep.
if #rows == 0 and steal then
  for _, other in ipairs(redis.call('ZRANGE', P .. 'beats', 0, 63)) do
    local serves = redis.call('HMGET', P .. 'worker:' .. other, 'model', 'version')
    if other ~= life and serves[1] == model and serves[2] == version then
      local waiting = {}
      for _, id in ipairs(redis.call('HRANDFIELD', P .. 'held:' .. other, 128)) do
        local state = redis.call('HMGET', P .. 'job:' .. id, 'status', 'worker')
        if state[1] == 'queued' and state[2] == other then waiting[#waiting + 1] = id end
      end
      for i = 1, math.min(count, math.ceil(#waiting / 2)) do
        if bytes >= MOST then break end
        redis.call('HDEL', P .. 'held:' .. other, waiting[i])
        take(waiting[i])
      end
      if #rows > 0 then break end
    end
  end
end
-- Only now is it known how many there are.
for i, fields in ipairs(changes) do
  if rows[i][12] == 1 then
    fields[#fields + 1] = 'batch_size'
    fields[#fields + 1] = began
  end
  redis.call('HSET', P .. 'job:' .. rows[i][1], unpack(fields))
end
in_pieces('HSET', P .. 'held:' .. life, held)
flush()
return {1, rows, expired}
