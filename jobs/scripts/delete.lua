-- delete: erases a final job and all that belongs to it.
-- ARGV: 8 id, 9 tenant. Answers {verdict, status}: ok, missing, or open.
local r = record(ARGV[8])
if not r or r.tenant ~= ARGV[9] then return {'missing', ''} end
if not FINAL[r.status] then return {'open', r.status} end
erase(ARGV[8], r)
return {'ok', r.status}
