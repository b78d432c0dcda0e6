-- endpoints: those that fail or are disabled, the last to fail first; with an id, that one is in
-- service again. ARGV: 8 endpoint or ''. Answers {id, record} of each; with an id, 1 where it was disabled, else 0.
local id = ARGV[8]
if id ~= '' then
  local was = disabled(id) and 1 or 0
  redis.call('DEL', P .. 'endpoint:' .. id)
  redis.call('ZREM', P .. 'failing', id)
  return was
end
local rows = {}
for _, endpoint in ipairs(redis.call('ZRANGE', P .. 'failing', 0, 999, 'REV')) do
  local flat = redis.call('HGETALL', P .. 'endpoint:' .. endpoint)
  if #flat == 0 then
    redis.call('ZREM', P .. 'failing', endpoint)
  else
    rows[#rows + 1] = {endpoint, flat}
  end
end
return rows
