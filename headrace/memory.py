"""How much memory this machine has, or the container that this process is in."""

from __future__ import annotations

import os
from pathlib import Path

_GROUPS = Path("/proc/self/cgroup")
_ROOT = Path("/sys/fs/cgroup")


def memory_bytes() -> int:
    """Return the least of what the machine has and what each group around this process allows."""
    physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min([physical, *_limits(_GROUPS, _ROOT)])


def _limits(groups: Path, root: Path) -> list[int]:
    """Read the limits of cgroups, of version 2 and of version 1."""
    try:
        lines = groups.read_text().splitlines()
    except OSError:
        return []
    files: list[Path] = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        own = path.strip("/")
        if not controllers:
            parts = Path(own).parts
            files += [root.joinpath(*parts[:n], "memory.max") for n in range(len(parts) + 1)]
        elif "memory" in controllers.split(","):
            files += [root / "memory" / each / "memory.limit_in_bytes" for each in (own, "")]
    return [limit for limit in map(_number, files) if limit is not None]


def _number(file: Path) -> int | None:
    try:
        text = file.read_text().strip()
    except OSError:
        return None
    # `max` says that there is no limit.
    return int(text) if text.isdigit() else None
