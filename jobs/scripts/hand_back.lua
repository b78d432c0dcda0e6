-- hand back: a life gives up jobs it owns: running or claimed -> queued, before all others.
-- ARGV: 8 life, then {id, token, charge, alone}. Answers for each: ok, poisoned, canceled, stale.
local life = ARGV[8]
local verdicts, models = {}, {}
for i = 9, #ARGV, 4 do
  local id, token = ARGV[i], ARGV[i + 1]
  local r = record(id)
  local verdict = 'stale'
  if r and r.token == token and r.worker == life and not FINAL[r.status] then
    verdict = give_back(id, r, ARGV[i + 2] == '1', ARGV[i + 3] == '1')
    models[r.model] = id
  end
  verdicts[#verdicts + 1] = verdict
end
for model, id in pairs(models) do ring(model, 'jobs', id) end
flush()
return verdicts
