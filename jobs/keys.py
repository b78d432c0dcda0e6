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
  by submit, follow; claim, cancel, expire and follow delete entries. Deleted when empty.
- `pins:<model>@<version>:<priority>:<tenant>` (stream): the same for jobs whose submit named the
  version; both have one turn. Written by submit. Deleted when empty.
- `pinned:<model>@<version>` (zset): jobs whose submit named the version, score 0, however they
  wait or run. Written by submit. A job leaves when it has ended.
- `turn:<model>@<version>` (zset): lanes with work, by virtual time. Written by submit, follow,
  claim. A lane leaves when empty.
- `returned:<model>@<version>` (zset): jobs to run again, by priority and age; claimed first.
  Written by hand back, adopt, sweep, follow. A job leaves when claimed.
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
- `bell:<model>` (stream): wakes idle workers, tells of cancels; `bell:!webhooks` wakes senders.
  Written by submit, cancel, hand back, sweep; by all that tells the outbox. Lives the newest 64
  entries.
- `outbox` (stream): an event for each final state of a job with a webhook, for its start and its
  progress where asked for. Written by every transition. An entry lives until it is a delivery.
- `gone:<id>` (hash): the record of a job or batch that was erased before all of its events were
  deliveries. Written by sweep, delete. Lives until they are, 30 days at most.
- `delivery:<wh>` (hash): an event on its way to a receiver, with its body and, where its submit
  had one, its traceparent; the truth about it. Written by post, lease, told, replay. Lives until
  7 days after its end.
- `called:<wh>` (list): its tries, oldest first, at most 50 (JSON). Written by told. Lives as it.
- `told:<id>` (zset): the deliveries of a job or batch, by the time (ms) they were made. Written by
  post. Lives as the last of them.
- `calls:<endpoint>` (zset): deliveries to one endpoint that are due, or in a sender's hands until
  then, by time (ms). Written by post, lease, told, release, replay. One leaves when it has ended.
- `lines` (zset): endpoints with calls, by the time (ms) of the first. Written with `calls`.
- `retry` (zset): deliveries that wait for their next try, by its time (ms). Written by told,
  release. One leaves when it is due.
- `undelivered` (zset): deliveries that ended `failed` or `disabled`, by the time (ms) they did.
  Written by told, lease, post. One leaves after 7 days, or when sent again.
- `endpoint:<endpoint>` (hash): tenant, URL, since when it fails, why it is disabled; only of those
  that fail. Written by told. Lives until an answer, or 30 days after the last failure.
- `failing` (zset): those endpoints, by the time (ms) of the last failure. Written by told. One
  leaves with its record, at the next failure of any.
- `fence` (string): a counter that makes tokens unique. Written by claim. Lives for ever, one
  number.

Global keys hold no jobs: `cards` (hash, `<model>@<version>` -> card), `production` (hash, model ->
version), `cards:rev` (counter), `keys` (hash, key id -> record), `keys:rev` (counter),
`webhook-secrets` (hash, tenant -> secrets), `format` (the number of the format that all of this is
written in).
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


def webhook_secrets(namespace: str) -> str:
    """Return the hash of the tenants' secrets."""
    return f"{namespace}:webhook-secrets"


def record_format(namespace: str) -> str:
    """Return the number of the format that everything is written in."""
    return f"{namespace}:format"


def wake_channel(namespace: str, process_id: str) -> str:
    """Return the channel on which a process hears of jobs it waits for."""
    return f"{namespace}:wake:{process_id}"
