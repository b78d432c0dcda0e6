"""What a run may draw: kinds of jobs, what befalls a call, how time goes."""

from __future__ import annotations

from hypothesis import strategies as st

from jobs.job import NewJob
from jobs.policy import QueueOptions
from jobs.states import Priority

MODEL = "m"
VERSIONS = ("1", "1", "1", "2")
BEAT_LIMIT_MS = 10_000
CHANNEL = "hr:wake:api"
#: What some jobs ask to be told: every end, that of a batch too; or what happens on the way.
ENDS = b'{"url":"https://x.test/"}'
ON_THE_WAY = b'{"url":"https://y.test/","events":["job.started","job.progress","job.succeeded"]}'


def _jobs() -> list[NewJob]:
    """Every kind of job, plain ones first: failing runs shrink towards them."""
    plain = NewJob(model=MODEL, version="1", tenant="a", input=b"1")
    kinds: list[dict[str, object]] = [
        {},
        {"priority": Priority.HIGH},
        {"priority": Priority.LOW, "metadata": b"{}"},
        {"priority": Priority.LOW, "tenant": "b"},
        {"tenant": "b", "webhook": ENDS},
        {"webhook": ON_THE_WAY},
        {"deadline_s": 3.0, "webhook": ENDS},
        {"deadline_s": 20.0, "priority": Priority.HIGH, "tenant": "b"},
        {"idempotency_key": "k", "fingerprint": "f", "webhook": ON_THE_WAY, "metadata": b"{}"},
        {"idempotency_key": "k", "fingerprint": "g", "tenant": "b"},
        {"version": "2"},
        {"version": "2", "pinned": True, "priority": Priority.LOW, "tenant": "b"},
        {"version": "2", "pinned": True},
        {"version": "1", "pinned": True},
        {"version": "2", "deadline_s": 3.0, "idempotency_key": "l", "fingerprint": "h"},
    ]
    fields = {name: getattr(plain, name) for name in ("model", "version", "tenant", "input")}
    return [NewJob(**{**fields, **kind}) for kind in kinds]  # type: ignore[arg-type]


JOBS = st.sampled_from(_jobs())
#: Those that tell of themselves.
TOLD = st.sampled_from([job for job in _jobs() if job.webhook and not job.idempotency_key])
#: Most calls go through, or few jobs would get far.
FATES = st.sampled_from([""] * 7 + ["request", "reply", "reply"])
WHO = st.integers(0, 3)
SENDERS = st.integers(0, 1)
SHARDS = st.integers(0, 1)
WHICH = st.integers(0, 255)
FORWARD = (20, 20, 600, 600, 600, 4_000, 4_000, 11_000, 11_000, 31_000, 61_000, 130_000)
#: Nobody does anything for days.
DAYS = (4 * 86_400_000,)
BACK = (-1, -600, -15_000, -90_000)
#: Milliseconds by which the clock goes on, or is set back.
STEPS = st.sampled_from([*FORWARD, *BACK, *DAYS])
AFTER = st.sampled_from([0, 4_000])
KINDS = st.sampled_from(["succeeded", "failed", "retry", "timed_out", "canceled"])
WRITES = st.sampled_from(
    ["succeeded", "failed", "retry", "timed_out", "canceled", "hand back", "start", "progress"]
)
#: What is out of date: the whole claim, its token alone, or its life alone.
STALE = st.sampled_from(["all", "token", "life"])
WHYS = st.sampled_from(["engine died", "engine died", "drain", "charged", "convicted"])
LIVES = st.sampled_from(["restart", "restart", "kill", "leave", "leave", "register", "freeze"])

#: Most events become deliveries; those on the way may be out of date.
POSTS = st.sampled_from(["lease", "lease", "leave", "forget"])


def options(crashes: int) -> QueueOptions:
    """Return a policy whose times are short beside the steps of the clock."""
    return QueueOptions(
        result_ttl_s=60,
        dead_ttl_s=120,
        max_queue_age_s=400,
        max_queue_depth=16,
        beat_limit_s=BEAT_LIMIT_MS / 1000,
        max_crashes=crashes,
    )
