-- follow: jobs that wait for a version which no worker serves go on to wait for the one in production,
-- but for those whose submit named their version. They keep their order among themselves.
-- ARGV: 8 model, 9 version to wait for, 10 most jobs to move, then the other versions.
-- Answers how many moved.
local model, version, left = ARGV[8], ARGV[9], tonumber(ARGV[10])
local target, moves = model .. '@' .. version, 0
local served = nil

-- One that drains, or cannot load its model, claims nothing any more.
local function is_served(other)
  if not served then
    served = {}
    for _, life in ipairs(redis.call('ZRANGE', P .. 'beats', 0, -1)) do
      local says = redis.call('HMGET', P .. 'worker:' .. life, 'model', 'version', 'state')
      if says[1] == model and says[3] ~= 'draining' and says[3] ~= 'failed' then
        served[says[2]] = true
      end
    end
  end
  return served[other]
end

local function move(id, entry)
  redis.call('HSET', P .. 'job:' .. id, 'version', version, 'entry', entry)
  moves = moves + 1
end

-- Some by chance, not the first: those may be pinned, all of them.
local function move_returned(from)
  for _, id in ipairs(redis.call('ZRANDMEMBER', P .. 'returned:' .. from, left)) do
    if redis.call('HEXISTS', P .. 'job:' .. id, 'pinned') == 0 then
      local score = redis.call('ZSCORE', P .. 'returned:' .. from, id)
      redis.call('ZREM', P .. 'returned:' .. from, id)
      redis.call('ZADD', P .. 'returned:' .. target, score, id)
      move(id, 'returned')
      left = left - 1
    end
  end
end

local function move_lane(from, name)
  local lane = P .. 'lane:' .. from .. ':' .. name
  local gone = {}
  for i, entry in ipairs(redis.call('XRANGE', lane, '-', '+', 'COUNT', left)) do
    local id = entry[2][2]
    gone[i] = entry[1]
    move(id, join_line(target, name, id))
  end
  left = left - #gone
  if #gone > 0 then redis.call('XDEL', lane, unpack(gone)) end
  drop_if_empty(from, name)
end

local function move_all(from)
  move_returned(from)
  if left <= 0 then return end
  for _, name in ipairs(redis.call('ZRANGE', P .. 'turn:' .. from, 0, -1)) do
    if left <= 0 then return end
    if not string.find(name, ':pinned', 1, true) then move_lane(from, name) end
  end
end

for i = 11, #ARGV do
  local from = model .. '@' .. ARGV[i]
  local waits = redis.call('EXISTS', P .. 'turn:' .. from, P .. 'returned:' .. from) > 0
  if left > 0 and waits and ARGV[i] ~= version and not is_served(ARGV[i]) then move_all(from) end
end
if moves > 0 then ring(model, 'jobs', '') end
return moves
