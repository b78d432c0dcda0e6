-- dead: ids of jobs that failed or timed out, newest first, with the time (ms) each ended.
-- ARGV: 8 most, 9 '' or the time to go on from. Those of that very millisecond come all, beyond
-- `most`: the caller knows which of them it has seen.
local most, at = ARGV[8], ARGV[9]
if at == '' then
  return redis.call('ZRANGE', P .. 'dead', '+inf', '-inf', 'BYSCORE', 'REV', 'LIMIT', 0, most,
    'WITHSCORES')
end
local found = redis.call('ZRANGE', P .. 'dead', at, at, 'BYSCORE', 'REV', 'WITHSCORES')
local older = redis.call('ZRANGE', P .. 'dead', '(' .. at, '-inf', 'BYSCORE', 'REV', 'LIMIT', 0,
  most, 'WITHSCORES')
for _, value in ipairs(older) do found[#found + 1] = value end
return found
