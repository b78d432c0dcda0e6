"""The folder that holds one Headrace: its lock, its logs, and its Redis' files and socket."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import stat
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from urllib.parse import quote

from headrace.embedded_redis import RedisServer, parse_version
from headrace.errors import StartRefused
from headrace.ping import shut_down

#: Bytes of a unix socket's path, its end included, on the narrower of Linux (108) and macOS (104).
_SOCKET_PATH_LIMIT = 104
#: How long a server whose supervisor died may take to let go of the folder.
_ORPHAN_LIMIT_S = 10.0


@dataclass(frozen=True, slots=True)
class DataFolder:
    """Where things lie below the folder; nothing is made until it is locked."""

    path: Path

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def redis(self) -> Path:
        return self.path / "redis"

    @property
    def lock(self) -> Path:
        return self.path / "lock"

    @property
    def ballast(self) -> Path:
        """A file that is deleted when the disk is full, so that Redis can go on."""
        return self.redis / "ballast"

    @property
    def socket(self) -> Path:
        """The embedded server's socket, the same for everyone who asks."""
        beside = self.path / "run" / "redis.sock"
        if len(os.fsencode(beside)) < _SOCKET_PATH_LIMIT:
            return beside
        digest = hashlib.sha256(os.fsencode(self.path)).hexdigest()[:16]
        base = Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir())
        return base / f"headrace-{os.getuid()}-{digest}" / "redis.sock"

    @property
    def redis_url(self) -> str:
        return f"unix://{quote(str(self.socket))}?db=0"

    def make(self) -> None:
        """Make the folders, private where Redis is reached."""
        try:
            for folder in (self.path, self.logs, self.redis):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            ignore = self.path / ".gitignore"
            if not ignore.exists():
                ignore.write_text("*\n")
        except OSError as error:
            raise StartRefused(
                f"the data folder {self.path} cannot be made ({error.strerror}): "
                "choose another with HEADRACE_DATA_DIR"
            ) from error
        _make_private(self.socket.parent)

    def written_by(self) -> RedisServer | None:
        """The newest server that opened the data, None while there is none."""
        try:
            text = self._stamp.read_text()
        except FileNotFoundError:
            return None
        server = parse_version(str(self._stamp), text)
        if server is None:
            raise StartRefused(f"{self._stamp} does not say which server wrote the data: {text!r}")
        return server

    def stamp(self, server: RedisServer) -> None:
        """Remember that this server opened the data."""
        version = ".".join(map(str, server.version))
        text = f"{server.product} server v={version}\n"
        # Most starts change nothing, and one on a full disk must do without a write.
        if self._stamp.exists() and self._stamp.read_text() == text:
            return
        draft = self._stamp.with_suffix(".new")
        draft.write_text(text)
        draft.replace(self._stamp)

    @property
    def _stamp(self) -> Path:
        return self.redis / "server-version"


class FolderLock:
    """Holds the folder against a second `headrace up`, as long as it or its Redis lives."""

    def __init__(self, folder: DataFolder) -> None:
        self._folder = folder
        self._file: int | None = None

    @property
    def fd(self) -> int:
        if self._file is None:
            raise RuntimeError("the folder is not locked")
        return self._file

    def __enter__(self) -> Self:
        self._folder.make()
        file = os.open(self._folder.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            self._take(file)
            # Always as long, and never truncated: a full disk has room for what is there already.
            os.pwrite(file, f"{os.getpid():<31}\n".encode(), 0)
        except OSError as error:
            os.close(file)
            raise StartRefused(f"{self._folder.lock}: {error.strerror}") from error
        except BaseException:
            os.close(file)
            raise
        self._file = file
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _take(self, file: int) -> None:
        until = time.monotonic() + _ORPHAN_LIMIT_S
        while not _locked(file):
            owner = _owner(file)
            if owner is not None and _alive(owner):
                raise StartRefused(
                    f"headrace up already runs on {self._folder.path} (pid {owner}): "
                    "stop it, or set HEADRACE_DATA_DIR to another folder"
                )
            if time.monotonic() > until:
                raise StartRefused(
                    f"the Redis of an earlier headrace up still holds {self._folder.path}: stop it"
                )
            # It inherited the lock and outlived its parent: the data must not be opened twice.
            with contextlib.suppress(OSError):
                shut_down(self._folder.socket)
            time.sleep(0.05)


def _locked(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _owner(file: int) -> int | None:
    text = os.pread(file, 32, 0).strip()
    return int(text) if text.isdigit() else None


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _make_private(folder: Path) -> None:
    """The shared temporary folder is open to others: what is not ours alone is not used."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    about = folder.lstat()
    if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.getuid():
        raise StartRefused(f"{folder} belongs to someone else: remove it, Redis' socket goes there")
    folder.chmod(0o700)
