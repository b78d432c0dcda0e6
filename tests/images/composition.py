"""Reads compose.yaml, and starts its services in scratch roots on one loopback."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from headrace.embedded_redis import find_server

from .builder import Builder
from .container import Container
from .dockerfile import Config

ROOT = Path(__file__).parents[2]
#: The files an override is given after, as on the command line.
FILES = ("compose.yaml", "compose.gpu.yaml")


def read(*names: str) -> dict[str, Any]:
    """The files laid over each other, as Compose does it for mappings and single values."""
    merged: dict[str, Any] = {}
    for name in names:
        merged = _over(merged, yaml.safe_load((ROOT / name).read_text()))
    return merged


def _over(below: Any, above: Any) -> Any:
    if isinstance(below, Mapping) and isinstance(above, Mapping):
        keys = {**below, **above}
        return {
            key: _over(below[key], above[key]) if key in below and key in above else keys[key]
            for key in keys
        }
    return above


def target_of(services: Mapping[str, Any], name: str) -> str | None:
    """The target of the Dockerfile that a service runs, None if it runs another image."""
    build = services[name].get("build")
    return None if build is None else build.get("target")


class Composition:
    """Services of compose.yaml on the network of one namespace, so each finds the others."""

    def __init__(self, builder: Builder, folder: Path) -> None:
        self.services: dict[str, Any] = read("compose.yaml")["services"]
        self._builder = builder
        self._scratch = builder.scratch
        self._folder = folder
        self.running: list[Container] = []
        self.hosts = folder / "hosts"
        self.hosts.write_text(f"127.0.0.1 localhost {' '.join(self.services)}\n")

    def redis(self) -> Container:
        """The service redis, from the server that this machine has."""
        image = "redis-image"
        server = find_server()
        if image not in self._builder.configs:
            self._scratch.lay(image, [])
            place = f"{self._scratch.inside(image)}/usr/local/bin/redis-server"
            self._scratch.sh(f"cp {server.path} {place}")
            base = self._builder.configs["cuda"]
            self._builder.configs[image] = dataclasses.replace(base, folder="/data")
        config = self._builder.configs[image]
        return self._start("redis", image, config, {})

    def start(self, name: str, given: Mapping[str, str] | None = None) -> Container:
        """Start a service as it stands there, with a few variables more."""
        service = self.services[name]
        target = target_of(self.services, name)
        assert target is not None, name
        config = self._builder.configs[target]
        return self._start(name, target, config, {**service["environment"], **(given or {})})

    def _start(
        self, name: str, image: str, config: Config, environment: Mapping[str, str]
    ) -> Container:
        service = self.services[name]
        assert service["tmpfs"] == "/tmp"
        merged = dataclasses.replace(config, environment=config.environment | dict(environment))
        log = self._folder / f"{name}.log"
        container = Container(self._scratch, image, merged, log)
        container.read_only = service["read_only"]
        container.bind(str(self.hosts), "/etc/hosts")
        for volume in service.get("volumes", []):
            source, target, *mode = volume.split(":")
            if source.startswith("."):
                where = str((ROOT / source).resolve())
            else:
                where = str(self._folder / source)
                Path(where).mkdir(exist_ok=True)
            container.bind(where, target, read_only=mode == ["ro"])
        self.running.append(container)
        return container.start(service.get("command", []))

    def healthy(self, name: str, container: Container) -> bool:
        """Whether its own health check passes."""
        kind, *words = self.services[name]["healthcheck"]["test"]
        assert kind == "CMD"
        return container.execute(words).returncode == 0

    def kill(self) -> None:
        """End all that still runs."""
        for container in self.running:
            container.kill()
