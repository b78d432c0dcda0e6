-- retried: notes at a dead letter the job that it was retried as, so that a retry of many that was
-- cut short can be repeated. ARGV: 8 id, 9 new id.
if redis.call('EXISTS', P .. 'job:' .. ARGV[8]) == 1 then
  redis.call('HSET', P .. 'job:' .. ARGV[8], 'retried_as', ARGV[9])
end
