-- attempts: jobs with what is kept of their attempts, without their input.
-- ARGV: 8.. ids. Answers for each: nil, or {record, error or output, extra, attempts}.
local rows = {}
for i = 8, #ARGV do
  local id = ARGV[i]
  local flat = redis.call('HGETALL', P .. 'job:' .. id)
  if #flat == 0 then
    rows[#rows + 1] = false
  else
    rows[#rows + 1] = {flat, redis.call('GET', P .. 'output:' .. id),
      redis.call('GET', P .. 'extra:' .. id), redis.call('LRANGE', P .. 'tries:' .. id, 0, -1)}
  end
end
return rows
