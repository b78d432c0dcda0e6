-- Shared by every script; loaded in front of each. KEYS[1] is the shard's prefix (`hr:{s017}:`),
-- which routes the call on a Cluster; all other keys are built from it and share its slot.
-- Names, types and lifetimes of all keys: jobs/keys.py. Allowed transitions: jobs/states.py.
-- ARGV[1..7] are the policy below, a script's own arguments begin at ARGV[8].
-- Lua does not roll back: a script checks all it needs before its first write.
local P = KEYS[1]
local RESULT_TTL, DEAD_TTL, MAX_AGE = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local CANCELED, EXPIRED, POISONED = ARGV[4], ARGV[5], ARGV[6]
local MAX_CRASHES = tonumber(ARGV[7])
-- A backstop behind the sweep for the large keys of a job, while nothing runs that could sweep. The
-- record itself stays until then: it tells the sweep what else belongs to the job.
local BACKSTOP = 3600000
local DAY = 86400000
local WEIGHT = {high = 8, normal = 3, low = 1}
local RANK = {high = 0, normal = 1, low = 2}
local DEAD = {failed = true, timed_out = true}
local FINAL = {succeeded = true, failed = true, canceled = true, expired = true, timed_out = true}

local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

-- A job's fields by name; an empty field is as good as none.
local function record(id)
  local flat = redis.call('HGETALL', P .. 'job:' .. id)
  if #flat == 0 then return nil end
  local r = {}
  for i = 1, #flat, 2 do
    if flat[i + 1] ~= '' then r[flat[i]] = flat[i + 1] end
  end
  return r
end

-- What many jobs of one call change alike is gathered and written once at the end, by `flush`:
-- each write costs its share of the append-only file, and a batch settles together.
local deltas, unheld, due, undue, woken = {}, {}, {}, {}, {}
local untold_news = false

local function count(model, group, by)
  local key = P .. 'counts:' .. model
  deltas[key] = deltas[key] or {}
  deltas[key][group] = (deltas[key][group] or 0) + by
end

local function drop_held(life, id)
  local key = P .. 'held:' .. life
  unheld[key] = unheld[key] or {}
  table.insert(unheld[key], id)
end

local function due_at(id, at)
  due[#due + 1] = at
  due[#due + 1] = id
end

-- `unpack` fails at some 8,000 values, so long lists go in pieces (an even number: pairs).
local function in_pieces(command, key, values)
  for i = 1, #values, 4000 do
    redis.call(command, key, unpack(values, i, math.min(#values, i + 3999)))
  end
end

-- What `read` answers of a job, but for its place in the line.
local function row_of(id, flat)
  return {flat, redis.call('GET', P .. 'input:' .. id), redis.call('GET', P .. 'output:' .. id),
    redis.call('GET', P .. 'extra:' .. id), redis.call('GET', P .. 'progress:' .. id)}
end

-- One message for each waiting process and call, not one for each job. Small jobs go along whole,
-- which saves their clients a read; of the others the ids, to be read.
local CARRIED = 65536
local function publish(channel, ids)
  local rows, others, size = {}, {}, 0
  for _, id in ipairs(ids) do
    size = size + redis.call('STRLEN', P .. 'output:' .. id) +
      redis.call('STRLEN', P .. 'input:' .. id) + redis.call('STRLEN', P .. 'extra:' .. id)
    if size > CARRIED then
      others[#others + 1] = id
    else
      rows[#rows + 1] = {id, row_of(id, redis.call('HGETALL', P .. 'job:' .. id))}
    end
  end
  if #rows > 0 then redis.call('PUBLISH', channel, cmsgpack.pack(rows)) end
  if #others > 0 then redis.call('PUBLISH', channel, table.concat(others, ' ')) end
end

local function ring(model, kind, id)
  redis.call('XADD', P .. 'bell:' .. model, 'MAXLEN', '~', 64, '*', 'kind', kind, 'job', id)
end

-- No model has this name: senders of webhooks hear it.
local function ring_senders() ring('!webhooks', 'calls', string.match(P, '{s(%d+)}')) end

local function flush()
  if untold_news then ring_senders() end
  for key, groups in pairs(deltas) do
    for group, by in pairs(groups) do
      if by ~= 0 then redis.call('HINCRBY', key, group, by) end
    end
  end
  for key, ids in pairs(unheld) do in_pieces('HDEL', key, ids) end
  in_pieces('ZADD', P .. 'due', due)
  in_pieces('ZREM', P .. 'due', undue)
  for channel, ids in pairs(woken) do publish(channel, ids) end
end

local function versioned(r) return r.model .. '@' .. r.version end

-- A lane is two lines that share one turn: in `pins` wait those whose submit named the version, the
-- others may follow to another one.
local function line_of(r, pinned)
  local kind = pinned and 'pins:' or 'lane:'
  return P .. kind .. versioned(r) .. ':' .. r.priority .. ':' .. r.tenant
end

-- Puts a job at the end of a lane, and the lane in its place among those that have work. Answers
-- the job's place in it.
local function join_line(target, name, id, pinned)
  local turn = P .. 'turn:' .. target
  if not redis.call('ZSCORE', turn, name) then
    -- A lane that comes back begins at the turn of those that waited, not at its old credit.
    local head = redis.call('ZRANGE', turn, 0, 0, 'WITHSCORES')
    redis.call('ZADD', turn, head[2] or 0, name)
  end
  -- Numbers of their own: a process that knows one line alone must not take another job out of it.
  if pinned then return redis.call('XADD', P .. 'pins:' .. target .. ':' .. name, '1-*', 'id', id) end
  return redis.call('XADD', P .. 'lane:' .. target .. ':' .. name, '0-*', 'id', id)
end

-- An empty stream takes 4 KB. Answers whether nobody waits in the lane any more.
local function drop_if_empty(target, name)
  local lane, pins = P .. 'lane:' .. target .. ':' .. name, P .. 'pins:' .. target .. ':' .. name
  local free, pinned = redis.call('XLEN', lane), redis.call('XLEN', pins)
  if free == 0 then redis.call('DEL', lane) end
  if pinned == 0 then redis.call('DEL', pins) end
  if free + pinned > 0 then return false end
  redis.call('ZREM', P .. 'turn:' .. target, name)
  return true
end

-- One hash counts what is queued and what is on a GPU; a batch counts by status.
local GROUP = {queued = 'queued', running = 'running', canceling = 'running'}
local function moved(r, from, to)
  if GROUP[from] ~= GROUP[to] then
    if GROUP[from] then count(r.model, GROUP[from], -1) end
    if GROUP[to] then count(r.model, GROUP[to], 1) end
  end
  if r.batch then
    redis.call('HINCRBY', P .. 'batch:' .. r.batch, from, -1)
    redis.call('HINCRBY', P .. 'batch:' .. r.batch, to, 1)
  end
  r.status = to
end

-- Takes a job out of wherever it waits: a lane, the returned set, or a worker's hands.
local function leave_line(id, r)
  if r.entry == 'returned' then
    redis.call('ZREM', P .. 'returned:' .. versioned(r), id)
  elseif r.entry then
    redis.call('XDEL', line_of(r, r.pinned), r.entry)
    drop_if_empty(versioned(r), r.priority .. ':' .. r.tenant)
  end
  if r.worker then drop_held(r.worker, id) end
end

local function due_when_queued(r)
  local at = r.created_at + MAX_AGE
  if r.deadline_at then at = math.min(at, tonumber(r.deadline_at)) end
  return at
end

-- Who ran while an engine or a worker died is suspected of it, and so is who was in the hands of
-- two workers that vanished, although it had not begun: one input may end a machine before it runs.
local function suspect(crashes, vanished)
  return (crashes or tonumber(vanished or 0) >= 2) and true or false
end

-- Puts a job back to be claimed before all others of its priority.
local function return_to_line(id, r)
  if r.worker then drop_held(r.worker, id) end
  redis.call('DEL', P .. 'progress:' .. id)
  redis.call('HSET', P .. 'job:' .. id, 'status', 'queued', 'entry', 'returned', 'worker', '',
    'not_before', '')
  redis.call('ZADD', P .. 'returned:' .. versioned(r), RANK[r.priority] * 1e13 + r.created_at, id)
  due_at(id, due_when_queued(r))
  if r.status ~= 'queued' then moved(r, r.status, 'queued') end
end

local function wake_watchers(id, r)
  if not r.watch then return end
  for channel in string.gmatch(r.watch, '[^ ]+') do
    woken[channel] = woken[channel] or {}
    table.insert(woken[channel], id)
  end
end

-- An attempt that ended in anything but success, for admins; the newest 20 are kept. Comes before
-- the record changes: of a job that is not running, `started_at` is an earlier attempt's.
local function note_attempt(id, r, reason, charged, detail)
  local began = r.status ~= 'queued'
  local note = {
    worker = string.match(r.worker, '^(.*):[^:]+$'),
    life = r.worker,
    attempt = tonumber(began and r.attempt or (r.retries or 0) + 1),
    started_at = began and tonumber(r.started_at) or nil,
    ended_at = now,
    reason = reason,
    charged = charged,
    detail = detail,
  }
  redis.call('RPUSH', P .. 'tries:' .. id, cjson.encode(note))
  redis.call('LTRIM', P .. 'tries:' .. id, -20, -1)
end

-- Whether a job's webhook asks for an event; '1' stands for all final ones.
local function wants(r, event)
  if not r.webhook then return false end
  if r.webhook == '1' then return FINAL[event] or false end
  return string.find(' ' .. r.webhook .. ' ', ' ' .. event .. ' ', 1, true) ~= nil
end

-- What happens on the way is told while senders keep up; nobody waits for it.
local MOST_UNTOLD = 10000

local function tell_outbox(id, r, event)
  if not wants(r, event) then return end
  if not FINAL[event] and redis.call('XLEN', P .. 'outbox') >= MOST_UNTOLD then return end
  local seq = redis.call('HINCRBY', P .. 'job:' .. id, 'seq', 1)
  redis.call('HINCRBY', P .. 'job:' .. id, 'untold', 1)
  redis.call('XADD', P .. 'outbox', '*', 'type', 'job.' .. event, 'job', id, 'seq', seq, 'at', now)
  untold_news = true
end

local function finish_in_batch(r)
  local key = P .. 'batch:' .. r.batch
  if redis.call('HINCRBY', key, 'open', -1) > 0 then return end
  redis.call('HSET', key, 'finished_at', now)
  if redis.call('HEXISTS', key, 'webhook') == 1 then
    redis.call('HINCRBY', key, 'untold', 1)
    redis.call('XADD', P .. 'outbox', '*', 'type', 'batch.finished', 'batch', r.batch, 'seq', 1,
      'at', now)
    untold_news = true
  end
end

-- Every way to a final state goes through here.
local function finish(id, r, status, payload)
  local ttl = status == 'failed' and DEAD_TTL or RESULT_TTL
  -- An end that its webhook has not been told of is kept until it has.
  local backstop = BACKSTOP + (r.webhook and 7 * DAY or 0)
  leave_line(id, r)
  redis.call('HSET', P .. 'job:' .. id, 'status', status, 'finished_at', now, 'entry', '',
    'not_before', '', 'watch', '', 'retained_until', now + ttl)
  redis.call('SET', P .. 'output:' .. id, payload, 'PX', ttl + backstop)
  redis.call('PEXPIRE', P .. 'extra:' .. id, ttl + backstop)
  redis.call('PEXPIRE', P .. 'progress:' .. id, ttl + backstop)
  redis.call('PEXPIRE', P .. 'tries:' .. id, ttl + backstop)
  if status == 'succeeded' then
    redis.call('DEL', P .. 'input:' .. id)
  else
    redis.call('PEXPIRE', P .. 'input:' .. id, ttl + backstop)
  end
  due_at(id, now + ttl)
  if DEAD[status] then redis.call('ZADD', P .. 'dead', now, id) end
  moved(r, r.status, status)
  if r.pinned then redis.call('ZREM', P .. 'pinned:' .. versioned(r), id) end
  tell_outbox(id, r, status)
  if r.batch then finish_in_batch(r) end
  wake_watchers(id, r)
end

-- What a webhook is still to be told of outlives its job or batch, but for what was in it.
local LONGEST_UNTOLD = 30 * DAY
local function outlive(kind, id, extra)
  local key = P .. 'gone:' .. id
  redis.call('RENAME', P .. kind .. ':' .. id, key)
  if extra then redis.call('HSET', key, 'extra', extra) end
  redis.call('PEXPIRE', key, LONGEST_UNTOLD)
end

local function erase(id, r)
  if tonumber(r.untold or 0) > 0 then outlive('job', id, redis.call('GET', P .. 'extra:' .. id)) end
  redis.call('DEL', P .. 'job:' .. id, P .. 'input:' .. id, P .. 'output:' .. id,
    P .. 'extra:' .. id, P .. 'progress:' .. id, P .. 'tries:' .. id)
  redis.call('ZREM', P .. 'due', id)
  -- Also where a process that knows of no such set has ended it.
  if r.pinned then redis.call('ZREM', P .. 'pinned:' .. versioned(r), id) end
  if DEAD[r.status] then redis.call('ZREM', P .. 'dead', id) end
  redis.call('ZREM', P .. 'index:' .. r.tenant .. ':' .. r.model, id)
  if r.idem then redis.call('DEL', P .. 'idem:' .. r.idem) end
  if r.batch then
    local key = P .. 'batch:' .. r.batch
    redis.call('ZREM', key .. ':jobs', id)
    if redis.call('EXISTS', key .. ':jobs') == 0 then
      local digest = redis.call('HGET', key, 'idem')
      if digest then redis.call('DEL', P .. 'idem:' .. digest) end
      if tonumber(redis.call('HGET', key, 'untold') or 0) > 0 then outlive('batch', r.batch) end
      redis.call('DEL', key)
    end
  end
end
