"""What a worker has learned, kept across restarts in a small file."""

import asyncio
import re
from pathlib import Path

import msgspec

from telemetry import logs
from worker.timing import Timing

WRITE_EVERY_S = 30.0

log = logs.get("worker.learned")


class Learned(msgspec.Struct):
    """Times in seconds; sizes of batches that fit into memory, by the engine's bucket."""

    seconds_per_job: float | None = None
    batch_s: dict[int, float] = msgspec.field(default_factory=dict)
    load_s: float | None = None
    safe_sizes: dict[str, int] = msgspec.field(default_factory=dict)

    def timing(self) -> Timing:
        """Begin from these times."""
        return Timing(self.seconds_per_job, dict(self.batch_s), self.load_s)

    def take(self, timing: Timing) -> None:
        """Note the newest times."""
        self.seconds_per_job = timing.seconds_per_job
        self.batch_s = dict(timing.batch_s)
        self.load_s = timing.load_s


class LearnedFile:
    """The file of one model version on one device."""

    def __init__(self, folder: Path, model: str, version: str, device: str) -> None:
        name = re.sub(r"[^a-z0-9._@-]+", "-", f"{model}@{version}-{device}".lower())
        self._path = folder / "learned" / f"{name}.json"
        self.learned = self._read()
        self.timing = self.learned.timing()

    def _read(self) -> Learned:
        """What was learned before; nothing, where there is no file that can be read."""
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=Learned)
        except FileNotFoundError:
            return Learned()
        except (OSError, msgspec.MsgspecError) as error:
            log.warning("learned_not_read", path=str(self._path), why=str(error))
            return Learned()

    def write(self) -> None:
        """Keep what is known now; a reader sees the old file or the new one."""
        self.learned.take(self.timing)
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            fresh = self._path.with_suffix(".new")
            fresh.write_bytes(msgspec.json.encode(self.learned))
            fresh.replace(self._path)
        except OSError as error:
            log.warning("learned_not_written", path=str(self._path), why=str(error))

    async def run(self) -> None:
        """Write now and then until canceled; it is small, and lost at no harm."""
        while True:
            await asyncio.sleep(WRITE_EVERY_S)
            self.write()
