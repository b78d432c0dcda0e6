"""What an engine leaves behind when it hangs or dies: the stacks of its threads.

It is memory that both processes have open. faulthandler writes to it from a signal handler, so it
gets there also while the engine is stuck in native code, and it can be read when the engine is
gone.
"""

import contextlib
import os
import tempfile

#: bytes that are kept of a dump: those of the model come first
MOST_BYTES = 7_000
#: bytes that are read of it; the stacks of a hundred threads are about as many
READ_BYTES = 1 << 18


class StackFile:
    """Where one engine's stacks go."""

    def __init__(self) -> None:
        self._fd = _memory()
        #: what was written before the dump that counts
        self._skip = 0

    def fileno(self) -> int:
        """The descriptor that the engine inherits."""
        return self._fd

    @property
    def size(self) -> int:
        """Bytes of the dump so far."""
        return os.fstat(self._fd).st_size - self._skip

    def expect(self) -> None:
        """Another dump is about to be asked for: only that one counts."""
        self._skip += self.size

    def read(self, folder: str) -> str:
        """The stacks as text, first those that are in the code of this folder."""
        dump = os.pread(self._fd, READ_BYTES, self._skip).decode(errors="replace")
        return arranged(dump, folder)

    def close(self) -> None:
        """Let go of the memory."""
        os.close(self._fd)


def arranged(dump: str, folder: str) -> str:
    """The most interesting stacks first, as many as there is room for."""
    stacks = dump.strip().split("\n\n")

    def rank(stack: str) -> int:
        # What killed it, then whoever is in the model's code, then whoever was at work.
        if stack.startswith("Fatal "):
            return 0
        if folder in stack:
            return 1
        return 2 if stack.startswith("Current ") else 3

    told = [each for each in stacks if not each.startswith("Extension modules:")]
    return "\n\n".join(sorted(told, key=rank))[:MOST_BYTES].rstrip()


def _memory() -> int:
    # Not on every system, and a container's seccomp profile may refuse it.
    with contextlib.suppress(AttributeError, OSError):
        return os.memfd_create("engine-stacks", os.MFD_CLOEXEC)
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
