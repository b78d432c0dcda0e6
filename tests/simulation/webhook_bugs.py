"""Bugs in what is told of jobs: each breaks a promise of the outbox, the senders or the log."""

from __future__ import annotations

from typing import NamedTuple


class Bug(NamedTuple):
    """A piece of text that every script, or one, has, and what a bug makes of it."""

    script: str
    text: str
    instead: str = ""


WEBHOOK_BUGS = {
    "an event on the way is told to who asks for ends": Bug(
        "",
        "if r.webhook == '1' then return FINAL[event] or false end",
        "if true then return true end",
    ),
    "a start is not told": Bug("start", "      tell_outbox(id, r, 'started')\n"),
    "a start in a claim is not told": Bug(
        "claim", "    tell_outbox(id, {webhook = v[14]}, 'started')\n"
    ),
    "progress is told without end": Bug(
        "progress", "redis.call('HSET', P .. 'job:' .. ARGV[i], 'told_at', now)"
    ),
    "the end of a batch is not told": Bug(
        "", "if redis.call('HEXISTS', key, 'webhook') == 1 then", "if false then"
    ),
    "senders are not woken": Bug("", "if untold_news then ring_senders() end"),
    "an untold job is erased": Bug("sweep", "if tonumber(r.untold or 0) > 0 then return true end"),
    "a job is erased that a delivery waits for": Bug(
        "sweep",
        "'status') == 'pending' then return true end",
        "'status') == 'pending' then return false end",
    ),
    "an untold job is never erased": Bug(
        "sweep", "r.retained_until + 7 * DAY > now and is_awaited", "is_awaited"
    ),
    "erasing loses what is untold": Bug(
        "", "if tonumber(r.untold or 0) > 0 then outlive('job'", "if false then outlive('job'"
    ),
    "erasing a batch loses what is untold": Bug(
        "",
        "redis.call('HGET', key, 'untold') or 0) > 0 then",
        "redis.call('HGET', key, 'untold') or 0) > 9 then",
    ),
    "what is gone forgets where to tell it": Bug(
        "", "if extra then redis.call('HSET', key, 'extra', extra) end"
    ),
    "what was told stays untold": Bug(
        "post", "if redis.call('HINCRBY', P .. kind .. id, 'untold', -1) < 0 then", "if false then"
    ),
    "what is gone stays when all is told": Bug("post", "redis.call('DEL', P .. 'gone:' .. id)"),
    "two senders make two deliveries": Bug(
        "post",
        "if redis.call('XDEL', P .. 'outbox', entry) == 1 then",
        "if redis.call('XDEL', P .. 'outbox', entry) == 1 or id ~= '' and not delivery(id) then",
    ),
    "a repeated post makes it anew": Bug(
        "post",
        "if redis.call('XDEL', P .. 'outbox', entry) == 1 then",
        "if redis.call('XDEL', P .. 'outbox', entry) == 1 or id ~= '' and delivery(id) then",
    ),
    "a repeated post gives another sender's lease": Bug(
        "post", "string.sub(d.token, 1, #sender + 1) == sender .. ':'", "true"
    ),
    "a delivery is made and waits nowhere": Bug(
        "post", "        call_at(id, endpoint, lease and now + lease or now)\n"
    ),
    "a job that was told of is not kept": Bug("post", "      keep_owner(owner, now + DAY)\n"),
    "an event is dropped that could be told": Bug(
        "post",
        "if id ~= '' and not (ON_THE_WAY[ARGV[i + 4]] and disabled(endpoint)) then",
        "if false then",
    ),
    "an event on the way is kept for who hears nothing": Bug(
        "post",
        "if id ~= '' and not (ON_THE_WAY[ARGV[i + 4]] and disabled(endpoint)) then",
        "if id ~= '' then",
    ),
    "an event on the way waits to be repaired": Bug(
        "lease", "if status == 'disabled' and ON_THE_WAY[d.type] then status = 'dropped' end"
    ),
    "what is leased is leased again": Bug(
        "lease", "redis.call('ZADD', P .. 'calls:' .. endpoint, now + lease, id)"
    ),
    "a lease leaves the token as it was": Bug(
        "lease", "redis.call('HSET', P .. 'delivery:' .. id, 'token', token)"
    ),
    "a disabled endpoint is called": Bug("lease", "if disabled(endpoint) then", "if false then"),
    "an endpoint gets more than it may": Bug(
        "lease", "local free = math.min(room[endpoint] or each, most - #rows)", "local free = most"
    ),
    "a repeated try is logged twice": Bug(
        "told", "if redis.call('LINDEX', key, -1) == try then return false end"
    ),
    "a stale failure ends a delivery": Bug(
        "told", "if d.status ~= 'pending' or not mine then", "if d.status ~= 'pending' then"
    ),
    "a stale sender gives back": Bug(
        "told", "if mine and status == 'pending' then", "if status == 'pending' then"
    ),
    "an event on the way is tried again": Bug(
        "told", "if ON_THE_WAY[d.type] then", "if false then"
    ),
    "an answer does not put an endpoint right": Bug("told", "    endpoint_answered(d.endpoint)\n"),
    "a retry has no time": Bug("told", "  redis.call('ZADD', P .. 'retry', next_at, id)\n"),
    "a log outlives its delivery": Bug(
        "told", "  if left > 0 then redis.call('PEXPIRE', key, left) end\n"
    ),
    "a list outlives its deliveries": Bug(
        "told", "redis.call('PEXPIRE', key, longest)", "live_until(key, now + longest)"
    ),
    "a list ends before its deliveries": Bug(
        "told", "if left == -1 then return redis.call('PERSIST', key) end"
    ),
    "an output ends before its job": Bug("", "at + BACKSTOP + 7 * DAY", "at + BACKSTOP"),
    "a retry is lost on its release": Bug(
        "release", "    call_at(id, d.endpoint, d.next_at or now)\n"
    ),
    "a retry comes too early": Bug(
        "release", "'-inf', now, 'BYSCORE'", "'-inf', '+inf', 'BYSCORE'"
    ),
    "a replay counts on": Bug("replay", ", 'token', '', 'tries', 0)", ", 'token', '')"),
    "a replay is called by strangers": Bug("replay", " or d.tenant ~= ARGV[10] then", " then"),
    "a replay is still listed as undelivered": Bug(
        "replay", "\nredis.call('ZREM', P .. 'undelivered', id)\n", "\n"
    ),
    "what is pending is erased": Bug("uncall", " or d.status == 'pending' then", " then"),
}
