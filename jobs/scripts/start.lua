-- start: queued (claimed) -> running, for a whole batch, before the GPU begins it.
-- ARGV: 8 life, 9 batch_size, then {id, token} pairs. Answers a verdict for each:
-- ok, canceled, expired (just now), or lost (it has ended, or another life owns it).
local life, size = ARGV[8], tonumber(ARGV[9])
local alive = redis.call('EXISTS', P .. 'worker:' .. life) == 1
local verdicts = {}
for i = 10, #ARGV, 2 do
  local id, token = ARGV[i], ARGV[i + 1]
  local r = record(id)
  local verdict = 'lost'
  if r and r.status == 'canceled' and r.token == token then
    verdict = 'canceled'
  elseif alive and r and r.token == token and r.worker == life then
    if r.status == 'running' then
      verdict = 'ok'
    elseif r.status == 'canceling' then
      verdict = 'ok'
    elseif r.status == 'queued' and r.deadline_at and tonumber(r.deadline_at) <= now then
      finish(id, r, 'expired', EXPIRED)
      verdict = 'expired'
    elseif r.status == 'queued' then
      redis.call('HSET', P .. 'job:' .. id, 'status', 'running', 'started_at', now,
        'attempt', (r.retries or 0) + 1, 'batch_size', size,
        'alone', size == 1 and suspect(r.crashes, r.vanished) and 1 or 0)
      undue[#undue + 1] = id
      moved(r, 'queued', 'running')
      tell_outbox(id, r, 'started')
      verdict = 'ok'
    end
  end
  verdicts[#verdicts + 1] = verdict
end
flush()
return verdicts
