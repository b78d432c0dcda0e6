-- follow: jobs that wait for a version which no worker serves go on to wait for one that is served,
-- but for those whose submit named their version. They keep their order among themselves.
-- ARGV: 8 life, 9 model, 10 its version, 11 the one in production, 12 most jobs to move, then the
-- versions to follow from. Answers how many moved. One worker of a version moves for all: the first
-- by its name. Where nobody serves the one in production, any other that is ready takes its place.
local life, model, version, production = ARGV[8], ARGV[9], ARGV[10], ARGV[11]
local left = tonumber(ARGV[12])
local target, moves = model .. '@' .. version, 0

local froms = {}
for i = 13, #ARGV do
  local from = model .. '@' .. ARGV[i]
  if ARGV[i] ~= version and
      redis.call('EXISTS', P .. 'turn:' .. from, P .. 'returned:' .. from) > 0 then
    froms[#froms + 1] = ARGV[i]
  end
end
if #froms == 0 then return 0 end

-- One that drains, or cannot load its model, claims nothing any more; one that is there for who
-- pinned its version keeps nobody else waiting for it.
local served, first = {}, nil
for _, other in ipairs(redis.call('ZRANGE', P .. 'beats', 0, -1)) do
  local says = redis.call('HMGET', P .. 'worker:' .. other, 'model', 'version', 'state',
    'pinned_only')
  if says[1] == model and says[3] ~= 'draining' and says[3] ~= 'failed' and says[4] ~= '1' then
    served[says[2]] = true
    local may = version == production or says[3] == 'ready'
    if says[2] == version and may and (not first or other < first) then first = other end
  end
end
if first ~= life or (version ~= production and served[production]) then return 0 end

local function move(id, entry)
  redis.call('HSET', P .. 'job:' .. id, 'version', version, 'entry', entry)
  left, moves = left - 1, moves + 1
end

-- Where there are more, some by chance, not the first: those may be pinned, all of them.
local MOST = 1000
local function move_returned(from)
  for _, id in ipairs(redis.call('ZRANDMEMBER', P .. 'returned:' .. from, MOST)) do
    if left <= 0 then return end
    if redis.call('HEXISTS', P .. 'job:' .. id, 'pinned') == 0 then
      local score = redis.call('ZSCORE', P .. 'returned:' .. from, id)
      redis.call('ZREM', P .. 'returned:' .. from, id)
      redis.call('ZADD', P .. 'returned:' .. target, score, id)
      move(id, 'returned')
    end
  end
end

local function move_lane(from, name, most)
  local lane = P .. 'lane:' .. from .. ':' .. name
  local gone = {}
  for i, entry in ipairs(redis.call('XRANGE', lane, '-', '+', 'COUNT', most)) do
    local id = entry[2][2]
    gone[i] = entry[1]
    move(id, join_line(target, name, id))
  end
  if #gone > 0 then redis.call('XDEL', lane, unpack(gone)) end
  drop_if_empty(from, name)
end

-- A part of each lane, or of some lanes by chance: those of one tenant must not hold up the others,
-- nor those in which only pinned jobs wait.
local function move_lanes(from)
  local names = {}
  for _, name in ipairs(redis.call('ZRANDMEMBER', P .. 'turn:' .. from, MOST)) do
    if redis.call('EXISTS', P .. 'lane:' .. from .. ':' .. name) == 1 then
      names[#names + 1] = name
    end
  end
  local before = -1
  while left > 0 and moves > before do
    before = moves
    local share = math.max(1, math.floor(left / math.max(1, #names)))
    for _, name in ipairs(names) do
      if left > 0 then move_lane(from, name, math.min(left, share)) end
    end
  end
end

for _, from in ipairs(froms) do
  if left > 0 and not served[from] then
    move_returned(model .. '@' .. from)
    move_lanes(model .. '@' .. from)
  end
end
if moves > 0 then ring(model, 'jobs', '') end
return moves
