"""Reads a Dockerfile as far as ours go, and refuses what it does not know."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

_KNOWN = {"RUN", "COPY", "ENV", "USER", "WORKDIR", "EXPOSE", "ENTRYPOINT", "CMD"}


@dataclass
class Stage:
    """One stage: what it is made from, and its instructions in their order."""

    name: str
    base: str
    steps: list[tuple[str, str]] = field(default_factory=list)

    def of(self, word: str) -> list[str]:
        """The values of one kind of instruction."""
        return [value for each, value in self.steps if each == word]


@dataclass
class Config:
    """What an image says about how it runs."""

    environment: dict[str, str]
    user: str = "0:0"
    folder: str = "/"
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)
    ports: list[int] = field(default_factory=list)

    def take(self, word: str, value: str) -> None:
        """Follow one instruction that changes how it runs."""
        if word == "ENV":
            for pair in shlex.split(value):
                name, _, text = pair.partition("=")
                self.environment[name] = expand(text, self.environment)
        elif word == "USER":
            self.user = value
        elif word == "WORKDIR":
            self.folder = str(PurePosixPath(self.folder, value))
        elif word == "ENTRYPOINT":
            self.entrypoint, self.command = json.loads(value), []
        elif word == "CMD":
            self.command = json.loads(value)
        elif word == "EXPOSE":
            self.ports += [int(port) for port in value.split()]


@dataclass(frozen=True)
class Copy:
    """A COPY instruction."""

    sources: list[str]
    target: str
    stage: str | None
    owner: str | None

    @classmethod
    def read(cls, value: str) -> Copy:
        """Take its words apart."""
        words = value.split()
        flags = dict(word[2:].split("=", 1) for word in words if word.startswith("--"))
        assert set(flags) <= {"from", "chown"}, flags
        *sources, target = [word for word in words if not word.startswith("--")]
        return cls(sources, target, flags.get("from"), flags.get("chown"))


class Dockerfile:
    """Its stages by name, and the args before the first of them."""

    def __init__(self, text: str, *, only: str = "") -> None:
        self.args: dict[str, str] = {}
        self.stages: dict[str, Stage] = {}
        stage: Stage | None = None
        for word, value in _instructions(text):
            if word == "FROM":
                found = re.fullmatch(r"(\S+)(?: AS (\S+))?", value)
                assert found, value
                stage = Stage(found[2] or only, expand(found[1], self.args))
                assert stage.name, "a stage without a name"
                assert stage.name not in self.stages
                self.stages[stage.name] = stage
            elif stage is None:
                assert word == "ARG", f"{word} before the first FROM"
                name, _, default = value.partition("=")
                self.args[name] = default
            else:
                assert word in _KNOWN, f"this reader does not know {word}"
                stage.steps.append((word, value))

    @classmethod
    def read(cls, path: Path) -> Dockerfile:
        """Read it from a file."""
        return cls(path.read_text())

    def line(self, name: str) -> list[Stage]:
        """The stage and those it is made from, the first one first."""
        stage = self.stages[name]
        return [*(self.line(stage.base) if stage.base in self.stages else []), stage]

    def config(self, name: str, environment: dict[str, str] | None = None) -> Config:
        """How the image of a stage runs, on a base with that environment."""
        config = Config(dict(environment or {"PATH": "/usr/bin:/bin"}))
        for stage in self.line(name):
            for word, value in stage.steps:
                config.take(word, value)
        return config


def expand(text: str, values: dict[str, str]) -> str:
    """Put values in place of $NAME and ${NAME}."""
    return re.sub(r"\$(?:(\w+)|\{(\w+)\})", lambda found: values[found[1] or found[2]], text)


def _instructions(text: str) -> Iterator[tuple[str, str]]:
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    for line in joined.splitlines():
        if line.strip():
            word, _, value = line.strip().partition(" ")
            yield word, value.strip()


def let_through(ignore: Path, path: str) -> bool:
    """Whether a .dockerignore lets a path of the build context through."""
    taken = True
    for line in ignore.read_text().splitlines():
        pattern = line.strip()
        if not pattern or pattern.startswith("#"):
            continue
        wanted = pattern.startswith("!")
        pattern = pattern.removeprefix("!")
        parts = PurePosixPath(path).parts
        if pattern.startswith("**/"):
            matches = pattern.removeprefix("**/") in parts
        else:
            assert "/" not in pattern, pattern
            assert "*" not in pattern or pattern == "*", pattern
            matches = pattern in ("*", parts[0])
        taken = wanted if matches else taken
    return taken
