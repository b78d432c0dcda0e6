"""One engine for each model on a device: a second copy of the weights is never loaded."""

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class AlreadyRunning(Exception):
    """Another worker holds the lock; the text says which process."""


class FolderRefused(Exception):
    """The data folder cannot be written; the text says what to set."""


@contextmanager
def engine_lock(folder: Path, model: str, device: str) -> Iterator[None]:
    """Hold the lock of this model on this device, for as long as the process lives."""
    name = re.sub(r"[^a-z0-9._-]+", "-", f"{model}-{device}".lower())
    path = folder / f"worker-{name}.lock"
    # The file stays: removing it would let a third worker lock a new one of the same name.
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise FolderRefused(
            f"The data folder {folder} cannot be written ({error.strerror}); set HEADRACE_DATA_DIR "
            "to a folder that can."
        ) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = path.read_text(encoding="ascii").strip() or "unknown"
            raise AlreadyRunning(
                f"A worker for {model} on {device} is running already (process {holder}, lock "
                f"{path}); stop it, or give this one another HEADRACE_DATA_DIR."
            ) from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)
