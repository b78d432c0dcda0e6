-- sweep: one page of what is due: queued -> expired, end of a backoff, deletion of old jobs.
-- ARGV: 8 page size. Answers {{model, version} of each that expired, 1 if more
-- may be due}.
local page = tonumber(ARGV[8])
local ids = redis.call('ZRANGEBYSCORE', P .. 'due', '-inf', now, 'LIMIT', 0, page)
local expired, models = {}, {}

-- Whether an event of it is untold, or a delivery of it or of its batch waits: a receiver that is
-- left alone for long has deliveries that were not even tried.
local function is_awaited(id, r)
  if tonumber(r.untold or 0) > 0 then return true end
  for _, owner in ipairs({id, r.batch}) do
    for _, call in ipairs(redis.call('ZREVRANGE', P .. 'told:' .. owner, 0, 9)) do
      if redis.call('HGET', P .. 'delivery:' .. call, 'status') == 'pending' then return true end
    end
  end
  return false
end

for _, id in ipairs(ids) do
  local r = record(id)
  if not r or r.status == 'running' or r.status == 'canceling' then
    undue[#undue + 1] = id
  elseif FINAL[r.status] then
    if tonumber(r.retained_until) > now then
      due_at(id, r.retained_until)
    elseif r.retained_until + 7 * DAY > now and is_awaited(id, r) then
      -- What its webhook is still to be told, and linked to, must be there then.
      due_at(id, now + 60000)
    else
      erase(id, r)
    end
  elseif due_when_queued(r) <= now then
    if r.worker then ring(r.model, 'cancel', id) end
    finish(id, r, 'expired', EXPIRED)
    expired[#expired + 1] = {r.model, r.version}
  elseif r.not_before and tonumber(r.not_before) <= now then
    return_to_line(id, r)
    models[r.model] = id
  else
    due_at(id, math.min(due_when_queued(r), tonumber(r.not_before or math.huge)))
  end
end
for model, id in pairs(models) do ring(model, 'jobs', id) end
flush()
return {expired, #ids == page and 1 or 0}
