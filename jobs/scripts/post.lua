-- post: event -> delivery, pending, once for each event whoever comes first.
-- ARGV: 8 sender, 9 lease (ms) or '' to leave them to anybody, then
-- {entry, id, owner, tenant, type, url, endpoint, secret, body, traceparent}. Answers for each a
-- token: the delivery is this sender's; or '' (it is another's, due for anybody, or its endpoint is
-- disabled).
-- Without an id the event is dropped: nobody can be told, or it is out of date; so is one on the way
-- whose endpoint is disabled.
local sender, lease = ARGV[8], tonumber(ARGV[9])
local replies, left = {}, false
for i = 10, #ARGV, 10 do
  local entry, id, owner = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local endpoint, reply = ARGV[i + 6], ''
  if redis.call('XDEL', P .. 'outbox', entry) == 1 then
    was_told(owner)
    -- Nobody hears of it: then it is not kept for a week, either.
    if id ~= '' and not (ON_THE_WAY[ARGV[i + 4]] and disabled(endpoint)) then
      local token = sender .. ':' .. now .. '-' .. redis.call('INCR', P .. 'fence')
      redis.call('HSET', P .. 'delivery:' .. id, 'owner', owner, 'tenant', ARGV[i + 3],
        'type', ARGV[i + 4], 'url', ARGV[i + 5], 'endpoint', endpoint, 'secret', ARGV[i + 7],
        'body', ARGV[i + 8], 'status', 'pending', 'created_at', now, 'token', token, 'tries', 0)
      if ARGV[i + 9] ~= '' then
        redis.call('HSET', P .. 'delivery:' .. id, 'traceparent', ARGV[i + 9])
      end
      redis.call('ZADD', P .. 'told:' .. owner, now, id)
      -- It may have been given an end of life by an earlier delivery of this owner.
      redis.call('PERSIST', P .. 'told:' .. owner)
      keep_owner(owner, now + DAY)
      if disabled(endpoint) then
        end_delivery(id, {endpoint = endpoint, owner = owner}, 'disabled')
      else
        call_at(id, endpoint, lease and now + lease or now)
        if lease then reply = token else left = true end
      end
    end
  elseif id ~= '' then
    -- By this very call, whose answer was lost; it may be another's by now.
    local d = delivery(id)
    if lease and d and d.status == 'pending' and d.token and
        string.sub(d.token, 1, #sender + 1) == sender .. ':' then
      reply = d.token
    end
  end
  replies[#replies + 1] = reply
end
if left then ring_senders() end
flush()
return replies
