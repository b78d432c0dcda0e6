"""Every key in Redis: its name, type, owner and lifetime.

Sharded keys begin with `{namespace}:{sNNN}:`; the braces are a Redis Cluster hash tag, so one
script may touch all keys of its shard. The Lua scripts build the same names from that prefix.

Each with its type, what it holds, who writes it, and how long it lives:

- `job:<id>` (hash): a job's record, short fields only (a listpack costs a third of a table).
  Written by submit and every transition. Lives until `retained_until`, then the sweep deletes it.
- `input:<id>` (string): the input as the client sent it. Written by submit. Lives until success,
  else as the job.
- `output:<id>` (string): the output, or the error of a job that failed (JSON). Written by settle,
  expire, hand back, adopt. Lives as the job.
- `extra:<id>` (string): metadata, webhook, traceparent (JSON), only where given. Written by
  submit. Lives as the job.
- `tries:<id>` (list): each attempt that ended in anything but success, oldest first, at most 20
  (JSON). Written by settle, hand back, adopt, register, leave. Lives as the job.
- `lane:<model>@<version>:<priority>:<tenant>` (stream): waiting jobs in order, `id` each. Written
  by submit; claim, cancel and expire delete entries. Deleted when empty.
- `turn:<model>@<version>` (zset): lanes with work, by virtual time. Written by submit, claim.
  A lane leaves when empty.
- `returned:<model>@<version>` (zset): jobs to run again, by priority and age; claimed first.
  Written by hand back, adopt, sweep. A job leaves when claimed.
- `due` (zset): job id by the time (ms) something must happen: expiry, end of a backoff, deletion.
  Written by every transition. A job leaves when deleted.
- `index:<tenant>:<model>` (zset): job ids, score 0, in order of id. Written by submit. An id
  leaves when its job is deleted.
- `dead` (zset): jobs that ended `failed` or `timed_out`, by the time (ms) they did. Written by
  every transition that ends one so. A job leaves when deleted.
- `batch:<id>` (hash): a batch's model, tenant, total, and count by status. Written by submit,
  every transition. Lives until its last job is deleted.
- `batch:<id>:jobs` (zset): its job ids. Written by submit. Lives as the batch.
- `idem:<digest>` (string): `<id> <fingerprint>` of the first request with an Idempotency-Key.
  Written by submit. Lives as the job or batch.
- `counts:<model>` (hash): `queued` and `running` jobs. Written by every transition. Lives for
  ever, two numbers.
- `stats:<model>` (hash): learned `seconds_per_job` and `result_bytes`. Written by beat. Lives for
  ever, two numbers.
- `beats` (zset): a worker's life by the time (ms) of its last beat. Written by register, beat.
  Lives until it leaves or is buried.
- `worker:<life>` (hash): what that worker is and how it does. Written by register, beat. Lives as
  its beat.
- `held:<life>` (hash): job id -> token: what that life owns. Written by claim, settle, hand back,
  adopt. Lives until empty or buried.
- `bell:<model>` (stream): wakes idle workers, tells of cancels. Written by submit, cancel, hand
  back, sweep. Lives the newest 64 entries.
- `outbox` (stream): an event for each final state of a job with a webhook. Written by settle,
  cancel, expire, hand back, adopt. Lives until delivered.
- `fence` (string): a counter that makes tokens unique. Written by claim. Lives for ever, one
  number.

Global keys hold no jobs: `cards` (hash, `<model>@<version>` -> card), `production` (hash, model ->
version), `cards:rev` (counter), `keys` (hash, key id -> record), `keys:rev` (counter), `format`
(the number of the format that all of this is written in).
Channel: `wake:<process>` (jobs that ended).
"""

from __future__ import annotations

DEFAULT_NAMESPACE = "hr"


def shard_prefix(namespace: str, shard: int) -> str:
    """Return what every key of a shard begins with."""
    return f"{namespace}:{{s{shard:03d}}}:"


def cards(namespace: str) -> str:
    """Return the hash of all cards."""
    return f"{namespace}:cards"


def production(namespace: str) -> str:
    """Return the hash of each model's production version."""
    return f"{namespace}:production"


def cards_revision(namespace: str) -> str:
    """Return the counter that rises with every change of a card."""
    return f"{namespace}:cards:rev"


def access_keys(namespace: str) -> str:
    """Return the hash of all API keys."""
    return f"{namespace}:keys"


def access_keys_revision(namespace: str) -> str:
    """Return the counter that rises with every change of an API key."""
    return f"{namespace}:keys:rev"


def record_format(namespace: str) -> str:
    """Return the number of the format that everything is written in."""
    return f"{namespace}:format"


def wake_channel(namespace: str, process_id: str) -> str:
    """Return the channel on which a process hears of jobs it waits for."""
    return f"{namespace}:wake:{process_id}"
