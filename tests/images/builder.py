"""Builds the stages of a Dockerfile into scratch roots."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from .dockerfile import Config, Copy, Dockerfile, Stage, let_through
from .scratch import Scratch, becoming

#: How this machine reaches its package registry.
_PASSED = re.compile(r"PIP_.*|(https?|no|all)_proxy|(SSL_CERT|REQUESTS_CA|CURL_CA).*", re.I)


class Builder:
    """Does what a Dockerfile says, stage by stage, each once."""

    def __init__(self, scratch: Scratch, given: Iterable[str] = ()) -> None:
        self.scratch = scratch
        self.configs: dict[str, Config] = {}
        #: Stages that this machine stands for as well: their steps are not run.
        self._given = set(given)

    def build(self, file: Dockerfile, name: str, context: Path) -> Config:
        """Build the stage and those it needs; what its image says about how it runs."""
        if name in self.configs:
            return self.configs[name]
        stage = file.stages[name]
        if stage.base in file.stages:
            self.build(file, stage.base, context)
        for value in stage.of("COPY"):
            source = Copy.read(value).stage
            if source is not None:
                self.build(file, source, context)
        base = self.configs.get(stage.base)
        self.scratch.lay(name, self.scratch.layers(stage.base) if base else [])
        config = Config(dict(base.environment), base.user, base.folder) if base else _base()
        config.entrypoint = list(base.entrypoint) if base else []
        config.command = list(base.command) if base else []
        self._follow(stage, config, context)
        self.configs[name] = config
        return config

    def _follow(self, stage: Stage, config: Config, context: Path) -> None:
        for word, value in stage.steps:
            config.take(word, value)
            if stage.name in self._given:
                continue
            if word == "RUN":
                self._run(stage.name, config, value)
            elif word == "COPY":
                self._copy(stage.name, config, Copy.read(value), context)
            elif word == "WORKDIR":
                self.scratch.sh(f"mkdir -p {self.scratch.inside(stage.name)}{config.folder}")

    def _run(self, name: str, config: Config, script: str) -> None:
        machine = {each: text for each, text in os.environ.items() if _PASSED.fullmatch(each)}
        words = self.scratch.enter(network=False)
        words += ["chroot", self.scratch.inside(name), *becoming(config.user)]
        words += ["env", "-i", "-C", config.folder]
        words += [f"{each}={text}" for each, text in (machine | config.environment).items()]
        done = subprocess.run(
            [*words, "/bin/sh", "-c", script], capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise AssertionError(f"{name}: {script}\n{done.stdout}{done.stderr}")

    def _copy(self, name: str, config: Config, copy: Copy, context: Path) -> None:
        target = os.path.join(config.folder, copy.target)  # noqa: PTH118 - of another root
        inside = self.scratch.inside(name) + target
        one = len(copy.sources) == 1 and not target.endswith("/")
        with tempfile.TemporaryDirectory(prefix="hr-context-") as folder:
            for source in copy.sources:
                if copy.stage is not None:
                    start = self.scratch.inside(copy.stage) + source
                else:
                    start = str(_sent(context, source, Path(folder)))
                is_folder = self.scratch.sh(f"test -d {shlex.quote(start)} && echo yes || true")
                inner = f"{start}/." if is_folder else start
                into = inside if is_folder or one else f"{inside}/"
                self.scratch.sh(
                    f"mkdir -p {inside if is_folder or not one else Path(inside).parent}\n"
                    f"cp -r --preserve=mode,links,timestamps {shlex.quote(inner)} {into}\n"
                )
        if copy.owner is not None:
            self.scratch.sh(f"chown -R {copy.owner} {inside}")


def _base() -> Config:
    folders = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return Config({"PATH": f"{sys.base_prefix}/bin:{folders}", "HOME": "/root"})


def _sent(context: Path, source: str, folder: Path) -> Path:
    """What of the context is sent to a builder, copied aside."""
    ignore = context / ".dockerignore"
    start = (context / source).resolve()
    place = folder / (start.name or "context")
    if start.is_file():
        assert not ignore.exists() or let_through(ignore, source), f"{source} is ignored"
        shutil.copyfile(start, place)
        return place
    for each in start.rglob("*"):
        path = str(each.relative_to(context.resolve()))
        if each.is_file() and (not ignore.exists() or let_through(ignore, path)):
            one = place / each.relative_to(start)
            one.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(each, one)
    assert place.exists(), f"nothing of {source} is sent"
    return place
