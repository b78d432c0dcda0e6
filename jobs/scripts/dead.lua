-- dead: ids of jobs that failed or timed out (or of deliveries that did), newest first, with the time
-- (ms) each ended. ARGV: 8 most, 9 '' or the time to go on from, 10 the key. Those of that very
-- millisecond come all, beyond `most`: the caller knows which of them it has seen.
local most, at, key = ARGV[8], ARGV[9], P .. (ARGV[10] or 'dead')
if at == '' then
  return redis.call('ZRANGE', key, '+inf', '-inf', 'BYSCORE', 'REV', 'LIMIT', 0, most,
    'WITHSCORES')
end
local found = redis.call('ZRANGE', key, at, at, 'BYSCORE', 'REV', 'WITHSCORES')
local older = redis.call('ZRANGE', key, '(' .. at, '-inf', 'BYSCORE', 'REV', 'LIMIT', 0,
  most, 'WITHSCORES')
for _, value in ipairs(older) do found[#found + 1] = value end
return found
