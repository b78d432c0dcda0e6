"""A file that is only there to be deleted: room for Redis on a disk that something else filled.

A Redis that cannot write its log ends, and once started again ends at its next write, so nothing
could be finished or erased. What the ballast frees is enough to come up, take the results that
workers hold, and rewrite the log without its garbage.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

#: The ballast as a share of its disk, and its largest size.
_SHARE, _LARGEST = 16, 64 << 20
#: It is made where so many times its size is free, and given up where less than this part of it is.
_ROOMY, _FULL = 8, 4


@dataclass(frozen=True, slots=True)
class Ballast:
    """The file and what it is for; a disk that does not allow for one goes without."""

    path: Path

    def release(self) -> bool:
        """Delete it if the disk is full; say whether that made room."""
        size, free = self._disk()
        if free >= size // _FULL or not self.path.exists():
            return False
        self.path.unlink(missing_ok=True)
        return True

    def keep(self) -> None:
        """Make it where there is room for it and none is there."""
        size, free = self._disk()
        if self.path.exists() or free < size * _ROOMY:
            return
        draft = self.path.with_suffix(".new")
        try:
            with draft.open("wb") as file:
                # Real blocks: a file with a hole frees nothing.
                if hasattr(os, "posix_fallocate"):
                    os.posix_fallocate(file.fileno(), 0, size)
                else:
                    file.write(bytes(size))
            draft.replace(self.path)
        except OSError:
            draft.unlink(missing_ok=True)

    def _disk(self) -> tuple[int, int]:
        disk = os.statvfs(self.path.parent)
        size = min(disk.f_blocks * disk.f_frsize // _SHARE, _LARGEST)
        return size, disk.f_bavail * disk.f_frsize
