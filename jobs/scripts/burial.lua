-- Behind the prelude in the scripts that take jobs back from workers, dead or alive.

-- Gives one job of a worker back. A crash is charged only to a job that was running; only a
-- death while it ran alone convicts. Returns what became of it.
local function give_back(id, r, charge, alone, reason, detail)
  if r.status == 'canceling' then
    finish(id, r, 'canceled', CANCELED)
    return 'canceled'
  end
  if r.status == 'running' then note_attempt(id, r, reason, charge, detail) end
  if charge and r.status == 'running' then
    local crashes = redis.call('HINCRBY', P .. 'job:' .. id, 'crashes', 1)
    if alone and crashes >= MAX_CRASHES then
      finish(id, r, 'failed', POISONED)
      return 'poisoned'
    end
  end
  return_to_line(id, r)
  return 'ok'
end

-- Moves up to `limit` jobs of a life that is over. It claims and starts nothing from the first page
-- on; a job that it still settles before its page is one job less to move.
local function bury(life, limit, reason)
  redis.call('DEL', P .. 'worker:' .. life)
  local held = redis.call('HKEYS', P .. 'held:' .. life)
  local adopted, models = {}, {}
  for i = 1, math.min(#held, limit) do
    local id = held[i]
    local r = record(id)
    redis.call('HDEL', P .. 'held:' .. life, id)
    if r and r.worker == life and not FINAL[r.status] then
      local was = r.status
      if was == 'queued' then redis.call('HINCRBY', P .. 'job:' .. id, 'vanished', 1) end
      local verdict = give_back(id, r, true, r.alone == '1', reason)
      -- Whatever that life still writes about the job is stale, also when the job is final now.
      redis.call('HSET', P .. 'job:' .. id, 'token', '')
      models[r.model] = id
      adopted[#adopted + 1] = {life, id, was, verdict, r.model, r.version}
    end
  end
  -- A score of 0 keeps a life with more pages at the head of those to bury.
  if #held > limit then
    redis.call('ZADD', P .. 'beats', 0, life)
  else
    redis.call('ZREM', P .. 'beats', life)
  end
  for model, id in pairs(models) do ring(model, 'jobs', id) end
  return adopted
end
