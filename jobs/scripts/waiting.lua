-- waiting: how much is to be told. ARGV: 8 ms. Answers {events, deliveries that are due or leased,
-- deliveries that wait for a retry, of those the ones that should have been due so long ago}.
local calls = 0
for _, endpoint in ipairs(redis.call('ZRANGE', P .. 'lines', 0, 1999)) do
  calls = calls + redis.call('ZCARD', P .. 'calls:' .. endpoint)
end
return {redis.call('XLEN', P .. 'outbox'), calls, redis.call('ZCARD', P .. 'retry'),
  redis.call('ZCOUNT', P .. 'retry', '-inf', now - ARGV[8])}
