-- cancel: queued -> canceled at once, running -> canceling until the GPU has let go.
-- ARGV: 8 id, 9 tenant. Answers {verdict, status}: ended (by this call), ok, missing, or final.
local id, tenant = ARGV[8], ARGV[9]
local r = record(id)
if not r or r.tenant ~= tenant then return {'missing', ''} end
if r.status == 'canceling' or r.status == 'canceled' then return {'ok', r.status} end
if FINAL[r.status] then return {'final', r.status} end
if r.status == 'queued' then
  local held = r.worker
  finish(id, r, 'canceled', CANCELED)
  if held then ring(r.model, 'cancel', id) end
  flush()
  return {'ended', r.status}
else
  redis.call('HSET', P .. 'job:' .. id, 'status', 'canceling')
  moved(r, 'running', 'canceling')
  ring(r.model, 'cancel', id)
end
flush()
return {'ok', r.status}
