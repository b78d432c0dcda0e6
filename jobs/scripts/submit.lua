-- submit: none -> queued, for a group of unrelated jobs or for one batch (all or none).
-- ARGV: 8 max_depth, 9 batch id or '', 10 batch idem digest, 11 batch fingerprint, 12 batch tenant,
-- 13 batch webhook (JSON) or '', then 16 fields a job. Idempotent by id: a repeat after a lost reply
-- answers as the first call. Answers for each job {verdict, created_at or first id}; for a batch refused whole, one row.
local STRIDE, FIRST = 16, 14
local max_depth, batch = tonumber(ARGV[8]), ARGV[9]
local count = (#ARGV - FIRST + 1) / STRIDE
local queued, replies, bells = {}, {}, {}

local function depth(model)
  if not queued[model] then
    queued[model] = tonumber(redis.call('HGET', P .. 'counts:' .. model, 'queued') or 0)
  end
  return queued[model]
end

-- Nil when the key is new, else what the first request with it got.
local function earlier(digest, fingerprint)
  if digest == '' then return nil end
  local found = redis.call('GET', P .. 'idem:' .. digest)
  if not found then return nil end
  local id, print = string.match(found, '^(%S+) (.*)$')
  if print ~= fingerprint then return {'conflict', id} end
  return {'replayed', id}
end

local function enter(base, digest)
  local id, model, version = ARGV[base], ARGV[base + 1], ARGV[base + 2]
  local tenant, priority, input = ARGV[base + 3], ARGV[base + 4], ARGV[base + 5]
  local deadline, extra = ARGV[base + 7], ARGV[base + 8]
  local watch, webhook = ARGV[base + 13], ARGV[base + 14]
  local pinned, target = ARGV[base + 15], model .. '@' .. version
  local entry = join_line(target, priority .. ':' .. tenant, id, pinned ~= '')
  if pinned ~= '' then redis.call('ZADD', P .. 'pinned:' .. target, 0, id) end
  local due = now + MAX_AGE
  local fields = {'status', 'queued', 'model', model, 'version', version, 'tenant', tenant,
    'priority', priority, 'created_at', now, 'entry', entry, 'timeout_s', ARGV[base + 6]}
  local function add(field, value)
    if value ~= '' then fields[#fields + 1] = field; fields[#fields + 1] = value end
  end
  if deadline ~= '' then
    add('deadline_at', now + deadline)
    due = math.min(due, now + deadline)
  end
  add('idem', digest)
  add('retry_of', ARGV[base + 11])
  add('request_id', ARGV[base + 12])
  add('watch', watch)
  add('webhook', webhook)
  add('batch', batch)
  add('pinned', pinned)
  redis.call('HSET', P .. 'job:' .. id, unpack(fields))
  redis.call('SET', P .. 'input:' .. id, input)
  if extra ~= '' then redis.call('SET', P .. 'extra:' .. id, extra) end
  if digest ~= '' then redis.call('SET', P .. 'idem:' .. digest, id .. ' ' .. ARGV[base + 10]) end
  redis.call('ZADD', P .. 'due', due, id)
  redis.call('ZADD', P .. 'index:' .. tenant .. ':' .. model, 0, id)
  if batch ~= '' then redis.call('ZADD', P .. 'batch:' .. batch .. ':jobs', 0, id) end
  bells[model] = id
end

if batch ~= '' then
  if redis.call('EXISTS', P .. 'batch:' .. batch) == 1 then
    return {{'ok', redis.call('HGET', P .. 'batch:' .. batch, 'created_at')}}
  end
  local first = earlier(ARGV[10], ARGV[11])
  if first then return {first} end
  local model = ARGV[FIRST + 1]
  if depth(model) + count > max_depth then return {{'full', depth(model)}} end
  for i = 0, count - 1 do enter(FIRST + i * STRIDE, '') end
  redis.call('HSET', P .. 'batch:' .. batch, 'model', model, 'tenant', ARGV[12], 'total', count,
    'open', count, 'queued', count, 'created_at', now)
  if ARGV[13] ~= '' then redis.call('HSET', P .. 'batch:' .. batch, 'webhook', ARGV[13]) end
  if ARGV[10] ~= '' then
    redis.call('HSET', P .. 'batch:' .. batch, 'idem', ARGV[10])
    redis.call('SET', P .. 'idem:' .. ARGV[10], batch .. ' ' .. ARGV[11])
  end
  redis.call('HINCRBY', P .. 'counts:' .. model, 'queued', count)
  replies[1] = {'ok', now}
else
  local added = {}
  for i = 0, count - 1 do
    local base = FIRST + i * STRIDE
    local id, model, digest = ARGV[base], ARGV[base + 1], ARGV[base + 9]
    local known = redis.call('HGET', P .. 'job:' .. id, 'created_at')
    local first = not known and earlier(digest, ARGV[base + 10])
    if known then
      replies[i + 1] = {'ok', known}
    elseif first then
      replies[i + 1] = first
    elseif depth(model) >= max_depth then
      replies[i + 1] = {'full', depth(model)}
    else
      enter(base, digest)
      queued[model] = depth(model) + 1
      added[model] = (added[model] or 0) + 1
      replies[i + 1] = {'ok', now}
    end
  end
  for model, number in pairs(added) do
    redis.call('HINCRBY', P .. 'counts:' .. model, 'queued', number)
  end
end
for model, id in pairs(bells) do ring(model, 'jobs', id) end
return replies
