-- overview: how a model does on this shard.
-- ARGV: 8 model, 9 beat limit (ms). Answers {queued, running, seconds_per_job or '', oldest waiting
-- ids, workers, result_bytes or '', versions}, a worker as its record with `life`, `beat_at` and
-- `holds`, the number of jobs of this shard in its hands. Of each version: how many jobs wait for it
-- (of 64 lanes at most), and how many that are pinned to it have not ended.
local model, limit = ARGV[8], tonumber(ARGV[9])
local counts = redis.call('HMGET', P .. 'counts:' .. model, 'queued', 'running')
local workers, oldest = {}, {}
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
-- Of so many lanes of a version at the most: nobody else is served meanwhile.
local MOST_LANES = 64
local function look_at(target)
  local waiting = redis.call('ZCARD', P .. 'returned:' .. target)
  for i, name in ipairs(redis.call('ZRANGE', P .. 'turn:' .. target, 0, MOST_LANES - 1)) do
    for _, kind in ipairs({'lane:', 'pins:'}) do
      local key = P .. kind .. target .. ':' .. name
      waiting = waiting + redis.call('XLEN', key)
      local first = i <= 32 and redis.call('XRANGE', key, '-', '+', 'COUNT', 1)[1]
      if first then oldest[#oldest + 1] = first[2][2] end
    end
  end
  return {waiting, redis.call('ZCARD', P .. 'pinned:' .. target)}
end

local versions = {}
for i = 10, #ARGV do versions[#versions + 1] = look_at(model .. '@' .. ARGV[i]) end
local stats = redis.call('HMGET', P .. 'stats:' .. model, 'seconds_per_job', 'result_bytes')
return {tonumber(counts[1] or 0), tonumber(counts[2] or 0), stats[1] or '', oldest, workers,
  stats[2] or '', versions}
