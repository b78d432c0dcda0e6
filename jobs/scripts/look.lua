-- look: keys as they are, for the audit; of payloads their lifetime alone.
-- ARGV: 8.. names of keys of this shard, without its prefix.
-- Answers {now, rows}; a row is {type, value, ms to live or -1}, or false for a key that is gone.
-- Nobody else is served meanwhile, so one call reads no more than MOST elements: a row of a key that
-- was too much is {type, '', ms to live or -1, elements}, and the caller asks for it again.
local MOST = 5000
local UNREAD = {input = true, output = true, extra = true, progress = true, tries = true,
  bell = true, called = true, fence = true, stats = true}
local SIZE = {hash = 'HLEN', zset = 'ZCARD', stream = 'XLEN'}

-- Of a delivery not its body.
local function delivery_of(key)
  local flat = {}
  for _, name in ipairs({'owner', 'status', 'endpoint'}) do
    flat[#flat + 1] = name
    flat[#flat + 1] = redis.call('HGET', key, name) or ''
  end
  return flat
end

local function value_of(key, type, kind)
  if kind == 'delivery' then return delivery_of(key) end
  if type == 'hash' then return redis.call('HGETALL', key) end
  if type == 'zset' then return redis.call('ZRANGE', key, 0, -1, 'WITHSCORES') end
  if type == 'stream' then return redis.call('XRANGE', key, '-', '+') end
  if type == 'string' then return redis.call('GET', key) end
  return ''
end

local rows, left = {}, MOST
for i = 8, #ARGV do
  local key = P .. ARGV[i]
  local type = redis.call('TYPE', key).ok
  if type == 'none' then
    rows[#rows + 1] = false
  else
    local row = {type, '', redis.call('PTTL', key)}
    local kind = string.match(ARGV[i], '^[^:]+')
    if not UNREAD[kind] then
      local size = SIZE[type] and redis.call(SIZE[type], key) or 1
      if size > left then
        row[4] = size
      else
        row[2] = value_of(key, type, kind)
        left = left - size
      end
    end
    rows[#rows + 1] = row
  end
end
return {now, rows}
