-- untold: the oldest events in the outbox, with what is told of: a job or batch as it is, or what is
-- left of one that was erased meanwhile. ARGV: 8 most. Answers rows
-- {entry, type, owner, seq, at, record, output, output size, extra, progress}.
-- Of a batch `extra` holds the trace of its submit alone, as each of its jobs has it.
-- An output that is longer than this is not sent but linked.
local INLINE = 16384
local rows = {}
for i, entry in ipairs(redis.call('XRANGE', P .. 'outbox', '-', '+', 'COUNT', ARGV[8])) do
  local event = {}
  for f = 1, #entry[2], 2 do event[entry[2][f]] = entry[2][f + 1] end
  local id = event.job or event.batch
  local flat = redis.call('HGETALL', P .. (event.job and 'job:' or 'batch:') .. id)
  local output, size, extra, progress = false, 0, false, false
  if #flat == 0 then
    flat = redis.call('HGETALL', P .. 'gone:' .. id)
    extra = redis.call('HGET', P .. 'gone:' .. id, 'extra')
  elseif event.job then
    size = redis.call('STRLEN', P .. 'output:' .. id)
    if size <= INLINE then output = redis.call('GET', P .. 'output:' .. id) end
    extra = redis.call('GET', P .. 'extra:' .. id)
    progress = redis.call('GET', P .. 'progress:' .. id)
  else
    local first = redis.call('ZRANGE', P .. 'batch:' .. id .. ':jobs', 0, 0)[1]
    local ending = first and redis.call('GETRANGE', P .. 'extra:' .. first, -560, -1) or ''
    local parent = string.match(ending, '"traceparent":"[^"]+"}$')
    if parent then extra = '{' .. parent end
  end
  rows[i] = {entry[1], event.type, id, event.seq or '1', event.at, flat, output, size, extra,
    progress}
end
return rows
