"""Lifetimes on the controlled clock: Redis's own run on its own, and nobody can wait for days."""

from __future__ import annotations

#: Stands where the prelude reads the time: from there on commands about lifetimes keep a book.
CONTROLLED = """
local clock = redis.call('GET', 'sim:clock')
clock = {math.floor(clock / 1000), clock % 1000 * 1000}
local redis = (function(real, ENDS)
  local now = clock[1] * 1000 + clock[2] / 1000
  local commands = {
    PEXPIRE = function(key, ms)
      if real('EXISTS', key) == 1 then real('ZADD', ENDS, now + ms, key) end
    end,
    PEXPIREAT = function(key, at)
      if real('EXISTS', key) == 1 then real('ZADD', ENDS, at, key) end
    end,
    PERSIST = function(key) real('ZREM', ENDS, key) end,
    PTTL = function(key)
      if real('EXISTS', key) == 0 then return -2 end
      local at = real('ZSCORE', ENDS, key)
      return at and math.max(0, at - now) or -1
    end,
    SET = function(key, value, _, ms)
      if ms then real('ZADD', ENDS, now + ms, key) else real('ZREM', ENDS, key) end
      return real('SET', key, value)
    end,
    RENAME = function(key, name)
      real('ZREM', ENDS, key, name)
      return real('RENAME', key, name)
    end,
    DEL = function(...)
      local gone = real('DEL', ...)
      if gone > 0 then real('ZREM', ENDS, ...) end
      return gone
    end,
    ZREM = function(key, ...)
      local gone = real('ZREM', key, ...)
      if gone > 0 and real('EXISTS', key) == 0 then real('ZREM', ENDS, key) end
      return gone
    end,
  }
  return {call = function(command, ...)
    local own = commands[command]
    if own then return own(...) end
    return real(command, ...)
  end}
end)(redis.call, 'sim:ends')
"""

#: Sets the clock, and does what Redis would do at that time: but for what belongs to a job, whose
#: lifetime is behind that of the job and of no use while nobody sweeps.
SET_CLOCK = """
redis.call('SET', 'sim:clock', ARGV[1])
local gone = {}
for _, key in ipairs(redis.call('ZRANGE', 'sim:ends', '-inf', ARGV[1], 'BYSCORE')) do
  local kind = string.match(key, '}:(%a+):')
  if kind == 'delivery' or kind == 'called' or kind == 'told' or kind == 'endpoint' or
      kind == 'gone' then
    redis.call('DEL', key)
    redis.call('ZREM', 'sim:ends', key)
    gone[#gone + 1] = key
  end
end
return gone
"""
