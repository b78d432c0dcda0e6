"""The simulation can fail: it finds each of these bugs when it is put into a script."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import hiredis
import pytest

from .machine import Machine
from .search import search
from .telling_machine import Telling
from .webhook_bugs import WEBHOOK_BUGS, Bug
from .wire import Wire

EXAMPLES, STEPS = 3_000, 50


BUGS = {
    "a job follows although its version is served": Bug("follow", "and not served[from]", ""),
    "who has not loaded its model takes jobs over": Bug(
        "follow", "version == production or says[3] == 'ready'", "true"
    ),
    "every worker takes jobs over at once": Bug("follow", "first ~= life or", ""),
    "a pinned job is no longer known as one": Bug(
        "submit", "if pinned ~= '' then redis.call('ZADD'", "if false then redis.call('ZADD'"
    ),
    "an end leaves a pinned job behind": Bug(
        "",
        "moved(r, r.status, status)\n  if r.pinned then",
        "moved(r, r.status, status)\n  if false then",
    ),
    "an empty line is kept": Bug("", "if pinned == 0 then redis.call('DEL', pins) end"),
    "a pinned job follows": Bug(
        "follow",
        "local lane = P .. 'lane:' .. from .. ':' .. name\n  local gone",
        "local lane = P .. 'pins:' .. from .. ':' .. name\n  local gone",
    ),
    "a pinned job follows once it was given back": Bug(
        "follow", "if redis.call('HEXISTS', P .. 'job:' .. id, 'pinned') == 0 then", "if true then"
    ),
    "a job to run again does not follow": Bug(
        "follow", "    move_returned(model .. '@' .. from)\n"
    ),
    "a job follows and stays": Bug(
        "follow", "if #gone > 0 then redis.call('XDEL', lane, unpack(gone)) end"
    ),
    "a lane that was left keeps its turn": Bug("follow", "  drop_if_empty(from, name)\n"),
    "nobody hears of jobs that followed": Bug(
        "follow", "if moves > 0 then ring(model, 'jobs', '') end"
    ),
    "settle takes any token": Bug("settle", "if not r or r.token ~= token then", "if not r then"),
    "settle takes any owner": Bug(
        "settle", "if r.worker ~= life then return kind", "if false then return kind"
    ),
    "settle records a second outcome": Bug(
        "settle", "if FINAL[r.status] then\n    -- By", "if false then\n    -- By"
    ),
    "a job that is being canceled may succeed": Bug(
        "settle",
        "  if r.status == 'canceling' then\n    finish(id, r, 'canceled', CANCELED)\n"
        "    return 'canceled'\n  end\n  if kind",
        "  if kind",
    ),
    "a backoff never ends": Bug("settle", "due_at(id, math.min(until_ms, due_when_queued(r)))"),
    "a death is not charged": Bug("", "if charge and r.status == 'running' then", "if false then"),
    "a job that never ran is charged": Bug(
        "", "if charge and r.status == 'running' then", "if charge then"
    ),
    "a death with mates convicts": Bug(
        "", "if alone and crashes >= MAX_CRASHES", "if crashes >= MAX_CRASHES"
    ),
    "a job is convicted one death early": Bug(
        "", "crashes >= MAX_CRASHES", "crashes >= MAX_CRASHES - 1"
    ),
    "a counter is forgotten": Bug("", "if GROUP[from] then count(r.model, GROUP[from], -1) end"),
    "a finished job is kept for ever": Bug("", "  due_at(id, now + ttl)\n"),
    "a batch is never finished": Bug("", "if r.batch then finish_in_batch(r) end"),
    "an Idempotency-Key outlives its job": Bug(
        "", "if r.idem then redis.call('DEL', P .. 'idem:' .. r.idem) end"
    ),
    "a list names a job that is gone": Bug(
        "", "redis.call('ZREM', P .. 'index:' .. r.tenant .. ':' .. r.model, id)"
    ),
    "an attempt is not noted": Bug(
        "", "if r.status == 'running' then note_attempt", "if false then note_attempt"
    ),
    "a returned job stays in the worker's hands": Bug(
        "", "if r.worker then drop_held(r.worker, id) end\n  redis.call('DEL'", "redis.call('DEL'"
    ),
    "a buried worker may still write": Bug(
        "", "redis.call('HSET', P .. 'job:' .. id, 'token', '')"
    ),
    "who waits is not told": Bug("", "  wake_watchers(id, r)\n"),
    "an event is lost": Bug("", "  tell_outbox(id, r, status)\n"),
    "idle workers are not woken for what is handed back": Bug(
        "hand_back", "for model, id in pairs(models) do ring(model, 'jobs', id) end\nflush", "flush"
    ),
    "a suspect runs with others": Bug("claim", "start and not suspected", "start"),
    "an outage of Redis buries the living": Bug("adopt", "if unbroken < limit then return {} end"),
    "a worker is buried although it beats": Bug("adopt", "'-inf', now - limit)", "'-inf', now)"),
    "an earlier life of a name is not buried": Bug("register", "other ~= life and", "false and"),
    "a buried life may claim": Bug(
        "claim",
        "if redis.call('EXISTS', P .. 'worker:' .. life) == 0 then return {0, {}, 0} end",
    ),
    "a token is given twice": Bug("claim", "redis.call('INCR', P .. 'fence')", "1"),
    "what runs is stolen": Bug(
        "claim", "if state[1] == 'queued' and state[2] == other then", "if true then"
    ),
    "a job begins after its deadline": Bug(
        "start", "elseif r.status == 'queued' and r.deadline_at and", "elseif false and"
    ),
    "a cancel frees the GPU too early": Bug(
        "cancel", "if r.status == 'queued' then", "if true then"
    ),
    "a hand-back counts twice": Bug(
        "hand_back", "== token and r.worker == life and", "== token and"
    ),
    "who leaves in order is charged": Bug(
        "leave", "give_back(id, r, false, false", "give_back(id, r, true, false"
    ),
    "a repeated submit makes another entry": Bug(
        "submit", "redis.call('HGET', P .. 'job:' .. id, 'created_at')", "false"
    ),
    "a repeated batch is another batch": Bug(
        "submit", "if redis.call('EXISTS', P .. 'batch:' .. batch) == 1 then", "if false then"
    ),
    "progress of a lost job is shown": Bug("progress", "r.token == ARGV[i + 1] and"),
    "a buried life is told that it lives": Bug(
        "beat", "if redis.call('EXISTS', P .. 'worker:' .. life) == 0 then", "if false then"
    ),
}
BUGS |= WEBHOOK_BUGS


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", BUGS)
def test_a_bug_is_found(redis_socket: Path, ear: Wire, name: str) -> None:
    bug, seeded = BUGS[name], []

    def edit(script: str, body: str) -> str:
        if bug.script not in ("", script) or bug.text not in body:
            return body
        assert body.count(bug.text) <= 1, f"{script} has this text more than once"
        seeded.append(script)
        return body.replace(bug.text, bug.instead)

    found = pytest.raises((AssertionError, KeyError, hiredis.ReplyError))
    with closing(Wire(redis_socket, edit)) as wire:
        assert seeded, "no script has such text any more"
        with found:
            machine = Telling if name in WEBHOOK_BUGS else Machine
            search(wire, ear, EXAMPLES, STEPS, explain=False, machine=machine)
