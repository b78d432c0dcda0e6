"""The frames that feeder and engine exchange over their socketpair.

Each is one msgpack array, tagged with the class name; worker/channel.py moves them.

A job is named by its `feed`: the number of this one handing over to the engine. Its id may come
again, when it was taken away from the worker while it ran and was claimed anew, and what is said
of the earlier run must not be taken for the later one.
"""

import msgspec


class Frame(msgspec.Struct, tag=True, array_like=True, frozen=True, gc=False):
    """One message of either side."""


class EngineJob(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A claimed job on its way to the GPU."""

    id: str
    feed: int
    input: bytes
    priority: str = "normal"
    lane: str = "default"
    alone: bool = False
    started: bool = False
    timeout_s: float = 300.0
    created_at: int = 0


class Item(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What became of one job: its output as JSON, or its error as a problem object."""

    feed: int
    output: bytes | None
    error: dict[str, object] | None
    run_s: float


# feeder -> engine


class Load(Frame, frozen=True):
    """The first frame: which model to load, and how."""

    path: str
    name: str
    version: str
    device: str = "auto"
    threads: int = 0
    weights: str | None = None
    settings: dict[str, object] = msgspec.field(default_factory=dict)
    safe_sizes: dict[str, int] = msgspec.field(default_factory=dict)
    max_result_bytes: int = 262_144
    shards: list[int] = msgspec.field(default_factory=list)
    log_format: str = "auto"
    worker: str = ""
    #: the device has to prove that it computes before the weights are loaded
    self_test: bool = False
    #: say what the model is (Described) and end: no device, no weights
    only_describe: bool = False


class Jobs(Frame, frozen=True):
    """Claimed jobs; `more` says that the feeder knows of others it is about to send."""

    jobs: list[EngineJob]
    more: bool = False


class Go(Frame, frozen=True):
    """The answer to Formed: these of the batch may run, the others are forgotten."""

    batch: int
    feeds: list[int]


class Drop(Frame, frozen=True):
    """Forget these unstarted jobs."""

    feeds: list[int]


class Cancel(Frame, frozen=True):
    """Let the model see `ctx.jobs[i].canceled`; an unstarted job still waits for Go or Drop."""

    feeds: list[int]


class Probe(Frame, frozen=True):
    """Run a small kernel through the main loop and answer with the number."""

    number: int


class Stop(Frame, frozen=True):
    """Finish what may run already, answer it, exit 0."""


# engine -> feeder


class Described(Frame, frozen=True):
    """What the model says of itself before its weights are there."""

    card: bytes


class Testing(Frame, frozen=True):
    """The self-test of the device begins."""


class Tested(Frame, frozen=True):
    """It has ended: why it failed, empty when it passed; exit 71 follows a failure."""

    failure: str


class Loaded(Frame, frozen=True):
    """Weights are in memory and the warm-up went through."""

    card: bytes
    load_s: float
    weights_bytes: int
    device: str
    max_batch: int
    max_wait_ms: float
    timeout_s: float
    retry_backoff_s: float


class LoadFailed(Frame, frozen=True):
    """The model cannot be served; exit 72 follows."""

    code: str
    detail: str


class Formed(Frame, frozen=True):
    """The next batch is chosen and asks for its start."""

    batch: int
    feeds: list[int]


class Began(Frame, frozen=True):
    """Predict of this batch begins now."""

    batch: int
    feeds: list[int]


class Done(Frame, frozen=True):
    """Items of a batch that ended; `last` on the frame after which none is left."""

    batch: int
    items: list[Item]
    batch_size: int
    run_s: float
    last: bool


class Refused(Frame, frozen=True):
    """The input was not fit to run; the job never reached predict."""

    feed: int
    error: dict[str, object]


class Progress(Frame, frozen=True):
    """How far a running job is, by its model."""

    feed: int
    fraction: float | None
    message: str | None


class Log(Frame, frozen=True):
    """A line the model logged for a job."""

    feed: int
    text: str


class ProbeOk(Frame, frozen=True):
    """The small kernel with this number has run."""

    number: int


class SafeSize(Frame, frozen=True):
    """The largest batch that fits for this bucket of cost, learned from an out of memory."""

    bucket: str
    size: int


class Memory(Frame, frozen=True):
    """Bytes of device memory; `oom` when a batch just did not fit."""

    allocated: int
    reserved: int
    oom: bool


class Fatal(Frame, frozen=True):
    """The device is lost to this process; exit 70 follows."""

    detail: str


ToEngine = Load | Jobs | Go | Drop | Cancel | Probe | Stop
ToFeeder = (
    Described
    | Testing
    | Tested
    | Loaded
    | LoadFailed
    | Formed
    | Began
    | Done
    | Refused
    | Progress
    | Log
    | ProbeOk
    | SafeSize
    | Memory
    | Fatal
)

#: exit codes of the engine
EXIT_STOPPED = 0
EXIT_FATAL = 70
EXIT_SELF_TEST = 71
EXIT_LOAD_FAILED = 72
