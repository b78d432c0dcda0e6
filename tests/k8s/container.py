"""What a kubelet puts together for a container: its environment, its files, its command line.

A pod has no network, no file system and no host name of its own here. So its address, the names of
Services and the paths of its mounts are written differently; a worker is told the name that it
would have read off its host, and Redis the one address that it may have. Nothing else is changed.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from headrace.embedded_redis import find_server

from .manifests import NAMESPACE, Document, Manifests

#: The code that this process runs: the image has it installed.
CODE = Path(__file__).resolve().parents[2]
#: Every address, as containers are told to listen on.
_ANY = {"0.0.0.0", "::"}
_REDIS_CLI = """#!{python}
# `redis-cli ping`, which the wheel with the server has not.
import socket, sys
try:
    with socket.create_connection(("{address}", 6379), 5) as server:
        server.sendall(b"PING\\r\\n")
        print(server.recv(512).decode().strip().lstrip("+-"))
except OSError:
    sys.exit(1)
"""


@dataclass(frozen=True)
class Place:
    """Where a pod is: its name, its address, its folder, and what stands for other things."""

    name: str
    address: str
    folder: Path
    manifests: Manifests
    #: A Service's name and port, as in `headrace-api:80` -> where it is here
    services: Mapping[str, str]
    #: The name of a claim, or a path in the image -> a folder
    volumes: Mapping[str, Path]


@dataclass(frozen=True)
class Container:
    """A container as it is started: a command line and an environment, and nothing else."""

    command: list[str]
    environment: dict[str, str]
    folder: Path

    @classmethod
    def make(cls, spec: Document, place: Place) -> Container:
        """Put the main container of a pod together."""
        [main] = spec["containers"]
        assert main["command"], "an image's own entrypoint is not known here"
        mounts = _mount(spec, main, place)
        given = _given(spec, main, place)
        settle = _settling(place, mounts)
        environment = {name: settle(value) for name, value in given.items()}
        words = [settle(_expand(word, given)) for word in [*main["command"], *main.get("args", [])]]
        bin_folder = _image_commands(place)
        if words[0] == "redis-server":
            words += ["--bind", place.address]
        if words[:2] == ["headrace", "worker"]:
            # In a pod it is the name of the host.
            environment.setdefault("HEADRACE_WORKER_NAME", place.name)
        if "/tmp" in mounts:
            environment["TMPDIR"] = str(mounts["/tmp"])
        path = f"{bin_folder}:{Path(sys.executable).parent}:{os.defpath}"
        image = {"PATH": path, "PYTHONPATH": str(CODE), "PYTHONSAFEPATH": "1", "HOME": "/"}
        everything = {**image, "HOSTNAME": place.name, **environment}
        words[0] = shutil.which(words[0], path=path) or words[0]
        return cls(words, everything, place.folder)


def _image_commands(place: Place) -> Path:
    """Return a folder with the commands of the image of Redis."""
    folder = place.folder / "bin"
    folder.mkdir(parents=True, exist_ok=True)
    server = folder / "redis-server"
    if not server.exists():
        server.symlink_to(find_server().path)
        client = folder / "redis-cli"
        client.write_text(_REDIS_CLI.format(python=sys.executable, address=place.address))
        client.chmod(0o755)
    return folder


def _given(spec: Document, main: Document, place: Place) -> dict[str, str]:
    """Return the variables that a kubelet sets, in the order in which it knows them."""
    # Of the cluster's own API every container is told.
    known = _links("kubernetes", "10.96.0.1", [("https", 443)])
    if spec.get("enableServiceLinks", True):
        for number, service in enumerate(place.manifests.of("Service")):
            if service["spec"].get("clusterIP") != "None":
                ports = [(port.get("name"), port["port"]) for port in service["spec"]["ports"]]
                known |= _links(service["metadata"]["name"], f"10.96.0.{10 + number}", ports)
    for source in main.get("envFrom", []):
        [(kind, reference)] = source.items()
        kinds = {"configMapRef": "ConfigMap", "secretRef": "Secret"}
        known |= place.manifests.data_of(kinds[kind], reference["name"])
    for each in main.get("env", []):
        value = each["value"] if "value" in each else _value_from(each["valueFrom"], place)
        known[each["name"]] = _expand(value, known)
    return known


def _links(name: str, address: str, ports: list[tuple[str | None, int]]) -> dict[str, str]:
    """Return the variables of one Service."""
    prefix = name.upper().replace("-", "_")
    first = ports[0][1]
    found = {f"{prefix}_SERVICE_HOST": address, f"{prefix}_SERVICE_PORT": str(first)}
    found[f"{prefix}_PORT"] = f"tcp://{address}:{first}"
    for named, port in ports:
        if named:
            found[f"{prefix}_SERVICE_PORT_{named.upper().replace('-', '_')}"] = str(port)
        one = f"{prefix}_PORT_{port}_TCP"
        found |= {one: f"tcp://{address}:{port}", f"{one}_PROTO": "tcp"}
        found |= {f"{one}_PORT": str(port), f"{one}_ADDR": address}
    return found


def _value_from(source: Document, place: Place) -> str:
    [(kind, reference)] = source.items()
    if kind == "fieldRef":
        fields = {
            "status.podIP": place.address,
            "metadata.name": place.name,
            "metadata.namespace": NAMESPACE,
        }
        return fields[reference["fieldPath"]]
    kinds = {"secretKeyRef": "Secret", "configMapKeyRef": "ConfigMap"}
    return place.manifests.data_of(kinds[kind], reference["name"])[reference["key"]]


def _expand(text: str, known: Mapping[str, str]) -> str:
    """Put in variables as a kubelet does: $(NAME) where it is known, $ for $$."""

    def put_in(found: re.Match[str]) -> str:
        return "$" if found[0] == "$$" else known.get(found[1], found[0])

    return re.sub(r"\$\$|\$\(([A-Za-z_][A-Za-z0-9_.-]*)\)", put_in, text)


def _mount(spec: Document, main: Document, place: Place) -> dict[str, Path]:
    """Make the pod's volumes; return the folder of each mount path."""
    volumes = {volume["name"]: volume for volume in spec.get("volumes", [])}
    mounts = {path: folder for path, folder in place.volumes.items() if path.startswith("/")}
    for mount in main.get("volumeMounts", []):
        name = mount["name"]
        folder = place.volumes.get(name, place.folder / "volumes" / name)
        folder.mkdir(parents=True, exist_ok=True)
        if secret := volumes.get(name, {}).get("secret"):
            data = place.manifests.data_of("Secret", secret["secretName"])
            for item in secret.get("items") or [{"key": key, "path": key} for key in data]:
                (folder / item["path"]).write_text(data[item["key"]])
                (folder / item["path"]).chmod(secret.get("defaultMode", 0o644))
        mounts[mount["mountPath"]] = folder
    return mounts


def _settling(place: Place, mounts: Mapping[str, Path]) -> Callable[[str], str]:
    """Return what writes a value so that it holds on loopback."""

    def settle(text: str) -> str:
        if text in _ANY:
            return place.address
        for path, folder in mounts.items():
            if text == path or text.startswith(f"{path}/"):
                return str(folder) + text.removeprefix(path)
        return localised(text, place.services)

    return settle


def localised(text: str, services: Mapping[str, str]) -> str:
    """Put addresses in for the names of Services, short or with their namespace."""
    for name, address in services.items():
        host, port = name.split(":")
        domain = rf"(\.{NAMESPACE}(\.svc(\.cluster\.local)?)?)?"
        text = re.sub(rf"(?<![\w.-]){host}{domain}:{port}(?!\d)", address, text)
    return text
