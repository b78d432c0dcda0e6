-- progress: what a running job tells of itself; refused to all but its owner.
-- ARGV: 8 life, then {id, token, text}. Answers how many were taken.
local taken = 0
for i = 9, #ARGV, 3 do
  local r = record(ARGV[i])
  if r and r.token == ARGV[i + 1] and r.worker == ARGV[8] and r.status == 'running' then
    redis.call('SET', P .. 'progress:' .. ARGV[i], ARGV[i + 2])
    -- At most two a second.
    if wants(r, 'progress') and now - (r.told_at or 0) >= 500 then
      redis.call('HSET', P .. 'job:' .. ARGV[i], 'told_at', now)
      tell_outbox(ARGV[i], r, 'progress')
    end
    taken = taken + 1
  end
end
flush()
return taken
