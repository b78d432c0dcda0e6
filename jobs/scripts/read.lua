-- read: jobs as they are; with a channel, a job that is not final is watched in the same step, so
-- that its end cannot fall between the look and the waiting. Of such a job only the record is
-- answered: who waits needs no more, and thousands are looked at every few seconds.
-- ARGV: 8 channel or '', then ids. Answers for each: nil, or
-- {record, input, output, extra, progress, ahead}, or 'later' where the answer is large enough: a
-- page of inputs of a megabyte would take several times as much memory as they do.
local LARGEST = 1048576
local channel = ARGV[8]
local rows, size = {}, 0
-- Bytes: about a hundred processes that wait for one job.
local MOST_WATCHED = 4096

-- Jobs that workers have claimed and not started are before all that wait in lanes.
local claimed = {}
local function claimed_of(model)
  if not claimed[model] then
    local count = -tonumber(redis.call('HGET', P .. 'counts:' .. model, 'running') or 0)
    for _, life in ipairs(redis.call('ZRANGE', P .. 'beats', 0, 255)) do
      if redis.call('HGET', P .. 'worker:' .. life, 'model') == model then
        count = count + redis.call('HLEN', P .. 'held:' .. life)
      end
    end
    claimed[model] = math.max(0, count)
  end
  return claimed[model]
end

-- How many jobs are before a queued one; -1 when it waits for the end of a backoff.
local function ahead(r)
  if r.status ~= 'queued' then return -1 end
  if r.worker or r.entry == 'returned' then return 0 end
  if not r.entry then return -1 end
  local first = redis.call('XRANGE', line_of(r, r.pinned), '-', '+', 'COUNT', 1)[1]
  if not first then return -1 end
  local place = string.match(r.entry, '-(%d+)$') - string.match(first[1], '-(%d+)$')
  -- Of the other line of its lane, at most all are before it.
  return place + redis.call('XLEN', line_of(r, not r.pinned)) + claimed_of(r.model)
end

for i = 9, #ARGV do
  local id = ARGV[i]
  local flat = redis.call('HGETALL', P .. 'job:' .. id)
  if #flat == 0 then
    rows[#rows + 1] = false
  elseif size > LARGEST then
    rows[#rows + 1] = 'later'
  else
    local r = {}
    for f = 1, #flat, 2 do
      if flat[f + 1] ~= '' then r[flat[f]] = flat[f + 1] end
    end
    local waited = channel ~= '' and not FINAL[r.status]
    if waited and
        not (r.watch and string.find(' ' .. r.watch .. ' ', ' ' .. channel .. ' ', 1, true)) then
      local watch = r.watch and (r.watch .. ' ' .. channel) or channel
      -- Of processes that came and went the oldest is forgotten; if it lives, it looks again.
      if #watch > MOST_WATCHED then watch = string.match(watch, ' (.*)$') or channel end
      redis.call('HSET', P .. 'job:' .. id, 'watch', watch)
    end
    local row = waited and {flat, false, false, false, false, -1} or row_of(id, flat)
    if not waited then
      row[6] = ahead(r)
      for part = 2, 5 do size = size + #(row[part] or '') end
    end
    rows[#rows + 1] = row
  end
end
return rows
