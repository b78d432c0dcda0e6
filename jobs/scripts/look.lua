-- look: keys as they are, for the audit; of payloads their lifetime alone.
-- ARGV: 8.. names of keys of this shard, without its prefix.
-- Answers {now, rows}; a row is {type, value, ms to live or -1}, or false for a key that is gone.
local UNREAD = {input = true, output = true, extra = true, progress = true, tries = true,
  bell = true, outbox = true, fence = true, stats = true}

local function value_of(key, kind, type)
  if UNREAD[kind] then return '' end
  if type == 'hash' then return redis.call('HGETALL', key) end
  if type == 'zset' then return redis.call('ZRANGE', key, 0, -1, 'WITHSCORES') end
  if type == 'stream' then return redis.call('XRANGE', key, '-', '+') end
  if type == 'string' then return redis.call('GET', key) end
  return ''
end

local rows = {}
for i = 8, #ARGV do
  local key = P .. ARGV[i]
  local type = redis.call('TYPE', key).ok
  if type == 'none' then
    rows[#rows + 1] = false
  else
    local kind = string.match(ARGV[i], '^[^:]+')
    rows[#rows + 1] = {type, value_of(key, kind, type), redis.call('PTTL', key)}
  end
end
return {now, rows}
