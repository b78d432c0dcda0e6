-- release: retries whose time has come are due from now on. ARGV: 8 most. Answers how many.
local released = 0
for _, id in ipairs(redis.call('ZRANGE', P .. 'retry', '-inf', now, 'BYSCORE', 'LIMIT', 0, ARGV[8])) do
  redis.call('ZREM', P .. 'retry', id)
  local d = delivery(id)
  if d and d.status == 'pending' then
    -- Those that have waited longest are first in line.
    call_at(id, d.endpoint, d.next_at or now)
    released = released + 1
  end
end
if released > 0 then ring_senders() end
return released
