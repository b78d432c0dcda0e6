"""Who says how many pods there are: the values, or an autoscaler that no upgrade talks over."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import pytest

from tests.unit.k8s.live import Live
from tests.unit.k8s.rendered import Document, Rendered

FIXED: Document = {"models": {"echo": {"replicas": 6}}, "api": {"replicas": 3}}
SCALED: dict[str, Document] = {
    kind: {
        "models": {"echo": {"replicas": 6, "autoscaling": {"type": kind}}},
        "api": {"replicas": 3, "autoscaling": {"enabled": True}},
    }
    for kind in ("keda", "hpa")
}
NAMES = {"demo-headrace-api": 3, "demo-headrace-worker-echo": 6}


class Conflict(Exception):
    """A field is given that is another's."""


class Deployment:
    """What an API server makes of what Helm 3 patches, or Helm 4 applies, and others scale."""

    def __init__(self, manifest: Document, *, server_side: bool) -> None:
        self.server_side = server_side
        self.manifest = manifest
        self.replicas: int = manifest["spec"].get("replicas", 1)
        self.owners = {"helm"} if "replicas" in manifest["spec"] else set()

    def scale(self, replicas: int) -> None:
        """What an autoscaler does."""
        if replicas != self.replicas:
            self.replicas, self.owners = replicas, {"others"}

    def take(self, manifest: Document) -> None:
        """Take the manifest of another revision."""
        before, self.manifest = self.manifest["spec"], manifest
        given: int | None = manifest["spec"].get("replicas")
        if given is None:
            gone = self.owners == {"helm"} if self.server_side else "replicas" in before
            self.owners -= {"helm"}
            self.replicas = 1 if gone else self.replicas
        elif given != self.replicas:
            if self.server_side and "others" in self.owners:
                raise Conflict
            self.replicas, self.owners = given, {"helm"}
        elif self.server_side:
            self.owners |= {"helm"}

    @property
    def document(self) -> Document:
        """What a reader sees of it."""
        found = copy.deepcopy(self.manifest)
        found["spec"]["replicas"] = self.replicas
        sets = {"f:spec": {"f:replicas": {}}}
        operation = "Apply" if self.server_side else "Update"
        helms = {"manager": "helm", "operation": operation, "fieldsV1": {"f:spec": {}}}
        helms |= {"fieldsV1": sets} if "helm" in self.owners else {}
        others = {"manager": "keda", "operation": "Update", "subresource": "scale"}
        fields = [helms, {**others, "fieldsV1": sets if "others" in self.owners else {}}]
        found["metadata"]["managedFields"] = fields
        return found


def deployments(docs: list[Document]) -> Iterator[Document]:
    return (doc for doc in docs if doc["metadata"]["name"] in NAMES and doc["kind"] == "Deployment")


class Release:
    """The Deployments that autoscalers may have, over the revisions of a release."""

    def __init__(self, values: Document, *, server_side: bool) -> None:
        self.all = {
            doc["metadata"]["name"]: Deployment(doc, server_side=server_side)
            for doc in deployments(Rendered(values).docs)
        }
        self.revisions = [{name: each.manifest for name, each in self.all.items()}]

    def upgrade(self, values: Document) -> dict[str, int]:
        """Upgrade; return how many pods each has."""
        with Live(*(each.document for each in self.all.values())) as live:
            docs = list(deployments(live.upgraded(values)))
        self.revisions.append({doc["metadata"]["name"]: doc for doc in docs})
        return self.roll_back(-1)

    def roll_back(self, revision: int) -> dict[str, int]:
        """Take a revision as it was written then."""
        for name, manifest in self.revisions[revision].items():
            self.all[name].take(manifest)
        return {name: each.replicas for name, each in self.all.items()}

    def scale(self, replicas: int) -> dict[str, int]:
        """Let the autoscalers do so."""
        for each in self.all.values():
            each.scale(replicas)
        return dict.fromkeys(self.all, replicas)

    def gives(self, revision: int) -> bool:
        """Whether a revision says how many pods there are."""
        written = {"replicas" in doc["spec"] for doc in self.revisions[revision].values()}
        marked = {"annotations" in doc["metadata"] for doc in self.revisions[revision].values()}
        assert written == marked
        [found] = written
        return found


way = pytest.mark.parametrize("server_side", [False, True], ids=["Helm 3", "Helm 4"])
kind = pytest.mark.parametrize("kind", SCALED)


@way
@kind
def test_switching_an_autoscaler_on_takes_no_pod_away(kind, server_side):
    release = Release(FIXED, server_side=server_side)
    assert release.upgrade(SCALED[kind]) == NAMES
    # The next one comes before anybody has scaled.
    assert release.upgrade(SCALED[kind]) == NAMES
    for replicas in (9, 0, 4):
        there = release.scale(replicas)
        assert release.upgrade(SCALED[kind]) == there


@kind
def test_with_helm_4_the_first_scaling_ends_it(kind):
    release = Release(FIXED, server_side=True)
    release.upgrade(SCALED[kind])
    assert release.gives(1)
    there = release.scale(9)
    assert release.upgrade(SCALED[kind]) == there
    assert not release.gives(2)
    there = release.scale(5)
    assert release.upgrade(SCALED[kind]) == there
    assert release.roll_back(2) == there


@kind
def test_with_helm_3_the_first_upgrade_that_meets_one_pod_ends_it(kind):
    release = Release(FIXED, server_side=False)
    release.upgrade(SCALED[kind])
    release.scale(9)
    release.upgrade(SCALED[kind])
    assert release.gives(2)
    there = release.scale(1)
    assert release.upgrade(SCALED[kind]) == there
    assert not release.gives(3)
    there = release.scale(7)
    assert release.upgrade(SCALED[kind]) == there
    assert release.roll_back(3) == there


@way
@kind
def test_what_was_scaled_from_the_first_day_never_says_a_number(kind, server_side):
    """A number in an old revision would come back with a rollback, or have it refused."""
    release = Release(SCALED[kind], server_side=server_side)
    for replicas in (7, 0, 3, 12):
        there = release.scale(replicas)
        assert release.upgrade(SCALED[kind]) == there
        assert not release.gives(-1)
        assert release.roll_back(0) == there


def test_switched_off_again_the_values_say_it():
    release = Release(FIXED, server_side=False)
    release.upgrade(SCALED["keda"])
    release.scale(9)
    assert release.upgrade(FIXED) == NAMES


def test_an_upgrade_keeps_the_keys_that_the_install_has_made():
    [made] = Rendered({}).of("Secret")
    with Live(made) as live:
        [kept] = [doc for doc in live.upgraded({}) if doc["kind"] == "Secret"]
    assert kept["data"] == made["data"]
    with Live() as live:
        [other] = [doc for doc in live.upgraded({}) if doc["kind"] == "Secret"]
    assert other["data"] != made["data"]
