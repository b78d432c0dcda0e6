-- hand back: a life gives up jobs it owns: running or claimed -> queued, before all others.
-- ARGV: 8 life, then {id, token, charge, alone, reason, detail}. Answers for each: ok, poisoned,
-- canceled, stale.
local life = ARGV[8]
local verdicts, models = {}, {}
for i = 9, #ARGV, 6 do
  local id, token = ARGV[i], ARGV[i + 1]
  local r = record(id)
  local verdict = 'stale'
  if r and r.token == token and r.worker == life and not FINAL[r.status] then
    local charge, alone = ARGV[i + 2] == '1', ARGV[i + 3] == '1'
    verdict = give_back(id, r, charge, alone, ARGV[i + 4], ARGV[i + 5])
    models[r.model] = id
  end
  verdicts[#verdicts + 1] = verdict
end
for model, id in pairs(models) do ring(model, 'jobs', id) end
flush()
return verdicts
