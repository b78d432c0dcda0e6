-- leave: a life ends in order; what it still owns goes back uncharged.
-- ARGV: 8 life. Answers how many of them ended by it, as canceled.
local life = ARGV[8]
local held = redis.call('HKEYS', P .. 'held:' .. life)
local ended, models = 0, {}
for _, id in ipairs(held) do
  local r = record(id)
  if r and r.worker == life and not FINAL[r.status] then
    local verdict = give_back(id, r, false, false, 'worker_left')
    if verdict == 'canceled' then ended = ended + 1 end
    models[r.model] = id
  end
end
redis.call('DEL', P .. 'worker:' .. life, P .. 'held:' .. life)
redis.call('ZREM', P .. 'beats', life)
for model, id in pairs(models) do ring(model, 'jobs', id) end
flush()
return ended
