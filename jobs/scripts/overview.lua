-- overview: how a model does on this shard.
-- ARGV: 8 model, 9 beat limit (ms). Answers {queued, running, seconds_per_job or '', oldest waiting
-- ids, workers, result_bytes or '', waiting}, a worker as its record with `life`, `beat_at` and
-- `holds`, the number of jobs of this shard in its hands. Of several versions `waiting` has each
-- one's jobs that wait: those that may follow to another version, and those pinned to it.
local model, limit = ARGV[8], tonumber(ARGV[9])
local counts = redis.call('HMGET', P .. 'counts:' .. model, 'queued', 'running')
local workers, oldest, targets = {}, {}, {}
local beats = redis.call('ZRANGEBYSCORE', P .. 'beats', now - limit, '+inf', 'WITHSCORES')
for i = 1, #beats, 2 do
  local key = P .. 'worker:' .. beats[i]
  if redis.call('HGET', key, 'model') == model then
    local fields = redis.call('HGETALL', key)
    fields[#fields + 1] = 'life'
    fields[#fields + 1] = beats[i]
    fields[#fields + 1] = 'beat_at'
    fields[#fields + 1] = beats[i + 1]
    fields[#fields + 1] = 'holds'
    fields[#fields + 1] = tostring(redis.call('HLEN', P .. 'held:' .. beats[i]))
    workers[#workers + 1] = fields
  end
end
local function waiting_for(target)
  local free, pinned = redis.call('ZCARD', P .. 'returned:' .. target), 0
  for _, name in ipairs(redis.call('ZRANGE', P .. 'turn:' .. target, 0, -1)) do
    local length = redis.call('XLEN', P .. 'lane:' .. target .. ':' .. name)
    if string.find(name, ':pinned', 1, true) then
      pinned = pinned + length
    else
      free = free + length
    end
  end
  return {free, pinned}
end

local waiting = {}
for i = 10, #ARGV do
  local target = model .. '@' .. ARGV[i]
  if #ARGV > 10 then waiting[#waiting + 1] = waiting_for(target) end
  for _, name in ipairs(redis.call('ZRANGE', P .. 'turn:' .. target, 0, 31)) do
    local first = redis.call('XRANGE', P .. 'lane:' .. target .. ':' .. name, '-', '+', 'COUNT', 1)
    if first[1] then oldest[#oldest + 1] = first[1][2][2] end
  end
end
local stats = redis.call('HMGET', P .. 'stats:' .. model, 'seconds_per_job', 'result_bytes')
return {tonumber(counts[1] or 0), tonumber(counts[2] or 0), stats[1] or '', oldest, workers,
  stats[2] or '', waiting}
