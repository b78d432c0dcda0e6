-- read: jobs as they are; with a channel, a job that is not final is watched in the same step, so
-- that its end cannot fall between the look and the waiting.
-- ARGV: 8 channel or '', then ids. Answers for each: nil, or
-- {record, input, output, extra, progress, ahead}.
local channel = ARGV[8]
local rows = {}

-- How many entries of its lane are before a queued job; -1 when it is not in a lane.
local function ahead(r)
  if r.status ~= 'queued' or not r.entry or r.entry == 'returned' then return -1 end
  local lane = P .. 'lane:' .. versioned(r) .. ':' .. r.priority .. ':' .. r.tenant
  local first = redis.call('XRANGE', lane, '-', '+', 'COUNT', 1)[1]
  if not first then return -1 end
  return string.match(r.entry, '-(%d+)$') - string.match(first[1], '-(%d+)$')
end

for i = 9, #ARGV do
  local id = ARGV[i]
  local flat = redis.call('HGETALL', P .. 'job:' .. id)
  if #flat == 0 then
    rows[#rows + 1] = false
  else
    local r = {}
    for f = 1, #flat, 2 do
      if flat[f + 1] ~= '' then r[flat[f]] = flat[f + 1] end
    end
    if channel ~= '' and not FINAL[r.status] and
        not (r.watch and string.find(' ' .. r.watch .. ' ', ' ' .. channel .. ' ', 1, true)) then
      redis.call('HSET', P .. 'job:' .. id, 'watch',
        r.watch and (r.watch .. ' ' .. channel) or channel)
    end
    rows[#rows + 1] = {flat, redis.call('GET', P .. 'input:' .. id),
      redis.call('GET', P .. 'output:' .. id), redis.call('GET', P .. 'extra:' .. id),
      redis.call('GET', P .. 'progress:' .. id), ahead(r)}
  end
end
return rows
