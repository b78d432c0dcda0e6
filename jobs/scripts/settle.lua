-- settle: records the outcome of jobs that a life owns, exactly once.
-- ARGV: 8 life, then {id, token, kind, payload, backoff_ms, reason, detail}; kind is succeeded, failed,
-- timed_out, canceled or retry. Answers a verdict for each: ok, retry, canceled, already, or stale.
local life = ARGV[8]
local verdicts, models = {}, {}

local function delay(id, r, backoff)
  local until_ms = now + backoff
  drop_held(life, id)
  redis.call('DEL', P .. 'progress:' .. id)
  redis.call('HSET', P .. 'job:' .. id, 'status', 'queued', 'worker', '', 'entry', '',
    'not_before', until_ms, 'retries', (r.retries or 0) + 1)
  due_at(id, math.min(until_ms, due_when_queued(r)))
  if r.status ~= 'queued' then moved(r, r.status, 'queued') end
end

local function settle(id, token, kind, payload, backoff, reason, detail)
  local r = record(id)
  if not r or r.token ~= token then return 'stale' end
  if FINAL[r.status] then
    -- By this very call, whose answer was lost; or by another, while the worker did not know.
    if r.worker ~= life then return 'stale' end
    if r.status == kind then return 'already' end
    return r.status == 'canceled' and 'canceled' or 'stale'
  end
  if r.worker ~= life then return kind == 'retry' and r.not_before and 'already' or 'stale' end
  if r.status == 'canceling' then
    finish(id, r, 'canceled', CANCELED)
    return 'canceled'
  end
  if kind == 'retry' then
    note_attempt(id, r, reason, false, detail)
    delay(id, r, backoff)
    return 'retry'
  end
  -- A claimed job that never ran can only be refused.
  if r.status == 'queued' and kind ~= 'failed' then return 'stale' end
  if kind == 'canceled' then
    -- Nobody here has asked for that: a failover forgot the cancel. The worker is done with it, so
    -- it must not go on being `running` in its hands.
    note_attempt(id, r, 'not_canceled', false, detail)
    return_to_line(id, r)
    models[r.model] = id
    return 'stale'
  end
  if DEAD[kind] then note_attempt(id, r, reason, false, detail) end
  finish(id, r, kind, payload)
  return 'ok'
end

for i = 9, #ARGV, 7 do
  verdicts[#verdicts + 1] = settle(ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3],
    tonumber(ARGV[i + 4]), ARGV[i + 5], ARGV[i + 6])
end
for model, id in pairs(models) do ring(model, 'jobs', id) end
flush()
return verdicts
