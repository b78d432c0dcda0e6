"""Memory of a process and its children, read from /proc: what is private and what is mapped."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Memory:
    """One process's memory in bytes."""

    pid: int
    command: str
    resident: int
    private: int
    maps_torch: bool


def descendants(pid: int) -> list[int]:
    """Return the pid and every process below it."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            stat = (entry / "stat").read_text()
        except OSError:
            continue
        parent = int(stat.rsplit(")", 1)[1].split()[1])
        children.setdefault(parent, []).append(int(entry.name))
    found, queue = [], [pid]
    while queue:
        current = queue.pop()
        found.append(current)
        queue += children.get(current, [])
    return found


def memory(pid: int) -> Memory:
    """Read one process's resident and private bytes and whether torch is mapped in it."""
    folder = Path("/proc", str(pid))
    lines = (folder / "smaps_rollup").read_text().splitlines()[1:]
    sizes = {name: int(rest.split()[0]) * 1024 for name, rest in (x.split(":", 1) for x in lines)}
    return Memory(
        pid=pid,
        command=(folder / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip(),
        resident=sizes["Rss"],
        private=sizes["Private_Clean"] + sizes["Private_Dirty"],
        maps_torch="libtorch" in (folder / "maps").read_text(),
    )


def tree(pid: int) -> list[Memory]:
    """Return the memory of a process and of all below it."""
    return [memory(each) for each in descendants(pid) if each != os.getpid()]
