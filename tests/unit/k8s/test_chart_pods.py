"""What holds for every pod of every case: safety, grace, probes, volumes, and who meets whom."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from model_store.limits import Limits
from tests.unit.k8s.rendered import CASES, Pod, Rendered, rendered, values_of

EVERY = ("api", "worker", "cards", "sender", "retries", "cron", "redis", "test")
each_case = pytest.mark.parametrize("case", CASES)

#: The components whose processes serve a port.
SERVING = ("api", "worker", "sender", "retries", "cron")


def pods(*components: str):
    """Run a test for every pod of these components, case by case."""
    cases = [case for case in CASES if rendered(case).pods_of(*components)]
    assert {pod.component for case in cases for pod in rendered(case).pods} >= set(components)

    def over_all(test: Callable[[str, Pod], None]) -> Callable[[str], None]:
        @pytest.mark.parametrize("case", cases)
        def each(case: str) -> None:
            for pod in rendered(case).pods_of(*components):
                try:
                    test(case, pod)
                except BaseException as error:
                    error.add_note(str(pod))
                    raise

        return each

    return over_all


each_pod = pods(*EVERY)


def meets(selector: dict, pod: Pod) -> bool:
    wanted = selector.get("matchLabels", {} if "matchExpressions" in selector else selector)
    one_of = {each["key"]: each["values"] for each in selector.get("matchExpressions", [])}
    return all(pod.labels.get(key) == value for key, value in wanted.items()) and all(
        pod.labels.get(key) in values for key, values in one_of.items()
    )


@pods("worker", "cards")
def test_a_version_that_is_kept_for_who_pins_it_never_takes_production(case, pod):
    entry = rendered(case).values["models"][pod.labels["headrace/model"]] or {}
    assert pod.env({}).get("HEADRACE_PINNED_ONLY") == ("true" if "version" in entry else None)


@each_pod
def test_no_pod_is_root_or_may_become_it(case, pod):
    context = pod.spec["securityContext"]
    assert context["runAsNonRoot"] is True
    assert min(context["runAsUser"], context["runAsGroup"], context["fsGroup"]) > 0
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod.main["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


@each_pod
def test_no_pod_has_a_token_or_the_variables_of_services(case, pod):
    assert pod.spec["automountServiceAccountToken"] is False
    assert pod.spec["enableServiceLinks"] is False
    account = pod.spec["serviceAccountName"]
    made = [each["metadata"]["name"] for each in rendered(case).of("ServiceAccount")]
    assert account in (made or ["default"])
    for each in rendered(case).of("ServiceAccount"):
        assert each["automountServiceAccountToken"] is False


@each_pod
def test_a_pod_without_a_gpu_sees_none(case, pod):
    if pod.component not in ("worker", "cards"):
        return
    limits = pod.main["resources"]["limits"]
    hidden = {"name": "NVIDIA_VISIBLE_DEVICES", "value": "void"} in pod.main["env"]
    assert hidden == (not set(limits) - {"cpu", "memory", "ephemeral-storage"}), (case, limits)


@each_pod
def test_no_pod_shares_its_node(case, pod):
    assert not {"hostNetwork", "hostPID", "hostIPC", "hostUsers"} & set(pod.spec)
    assert not any("hostPort" in port for port in pod.main.get("ports", []))
    for volume in pod.spec.get("volumes", []):
        if "hostPath" in volume:
            [mount] = [m for m in pod.main["volumeMounts"] if m["name"] == volume["name"]]
            assert mount["readOnly"] is True


@each_pod
def test_every_container_says_what_it_needs_and_no_cpu_is_capped(case, pod):
    resources = pod.main["resources"]
    assert {"cpu", "memory"} <= set(resources["requests"])
    assert "memory" in resources["limits"]
    assert "cpu" not in resources["limits"]


@each_pod
def test_a_gpu_is_asked_for_by_workers_alone_and_one_at_a_time(case, pod):
    extended = {name: n for name, n in pod.main["resources"]["limits"].items() if "/" in name}
    if pod.component == "worker" and (gpu := rendered(case).model(pod)["gpu"])["enabled"]:
        assert extended == {gpu["resource"]: 1}
    else:
        assert extended == {}


@each_pod
def test_an_image_has_a_version(case, pod):
    image = pod.main["image"]
    assert "@sha256:" in image or re.search(r":[A-Za-z0-9_][\w.-]*$", image)
    assert not image.endswith(":latest")


@each_pod
def test_mounts_have_volumes_and_what_is_writable_is_bounded(case, pod):
    volumes = {volume["name"]: volume for volume in pod.spec.get("volumes", [])}
    claimed = {
        each["metadata"]["name"]: each["spec"]
        for each in pod.owner["spec"].get("volumeClaimTemplates", [])
    }
    for container in [pod.main, *pod.spec.get("initContainers", [])]:
        mounted = {mount["name"] for mount in container.get("volumeMounts", [])}
        assert mounted <= volumes.keys() | claimed.keys(), container["name"]
    assert len({m["mountPath"] for m in pod.main.get("volumeMounts", [])}) == len(
        pod.main.get("volumeMounts", [])
    )
    for mount in pod.main.get("volumeMounts", []):
        if not mount.get("readOnly") and mount["name"] in volumes:
            assert volumes[mount["name"]]["emptyDir"]["sizeLimit"]


@each_pod
def test_a_workloads_selector_is_its_pods_and_nobody_elses(case, pod):
    if "selector" not in pod.owner["spec"]:
        return
    selector = pod.owner["spec"]["selector"]
    assert [str(other) for other in rendered(case).pods if meets(selector, other)] == [str(pod)]


@pods(*SERVING)
def test_probes_ask_ports_that_the_container_has(case, pod):
    ports = {port["name"]: port["containerPort"] for port in pod.main["ports"]}
    asked = {"/livez"} if pod.component == "api" else {"/healthz", "/livez"}
    probes = [pod.main[kind] for kind in ("readinessProbe", "livenessProbe")]
    probes += [pod.main["startupProbe"]] if "startupProbe" in pod.main else []
    assert {probe["httpGet"]["path"] for probe in probes} == asked
    assert {probe["httpGet"]["port"] for probe in probes} <= ports.keys()
    assert pod.main["livenessProbe"]["httpGet"]["path"] == "/livez"
    served = pod.env({})
    port = served.get("HEADRACE_WORKER_PORT") or served["HEADRACE_METRICS_PORT"]
    assert ports["metrics"] == int(port)
    if pod.component == "api":
        assert ports["http"] == int(served["HEADRACE_API_PORT"])


@pods("worker")
def test_weights_have_the_time_they_are_given(case, pod):
    probe = pod.main["startupProbe"]
    given = probe["periodSeconds"] * probe["failureThreshold"]
    startup = rendered(case).model(pod)["startupS"]
    assert startup <= given < startup + 10
    assert pod.owner["spec"]["progressDeadlineSeconds"] > given


@pods("api", "worker", "sender", "retries", "cron")
def test_the_grace_is_longer_than_the_drain(case, pod):
    drain = int(pod.env({})["HEADRACE_DRAIN_S"])
    sleep = pod.main.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    assert pod.spec["terminationGracePeriodSeconds"] >= drain + sleep + 15


@pods("worker")
def test_a_drain_is_as_long_as_the_models_longest_job(case, pod):
    model = rendered(case).model(pod)
    drain = int(pod.env({})["HEADRACE_DRAIN_S"])
    assert drain == max(model["drainS"], model["timeoutS"])
    assert pod.spec["terminationGracePeriodSeconds"] >= model["timeoutS"]


def test_a_job_that_has_begun_may_end_wherever_nothing_is_said_of_it():
    [worker] = Rendered({"models": {"echo": {}}}).pods_of("worker")
    assert int(worker.env({})["HEADRACE_DRAIN_S"]) >= Limits().timeout_s


def test_a_long_job_model_has_hours_and_a_spot_worker_thirty_seconds():
    [video] = rendered("long-jobs").pods_of("worker")
    assert video.spec["terminationGracePeriodSeconds"] == 7215
    [spot] = rendered("spot").pods_of("worker")
    assert spot.spec["terminationGracePeriodSeconds"] == 30


@pods("worker")
def test_a_rollout_of_workers_waits_for_no_gpu_too_many(case, pod):
    assert pod.owner["spec"]["strategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1},
    }


@pods("api")
def test_a_rollout_of_the_api_leaves_all_places_taken(case, pod):
    assert pod.owner["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    assert pod.main["lifecycle"]["preStop"]["sleep"]["seconds"] >= 5


@pods("worker")
def test_a_worker_has_shared_memory_and_a_place_for_what_it_learns(case, pod):
    volumes = {volume["name"]: volume for volume in pod.spec["volumes"]}
    mounts = {mount["mountPath"]: mount["name"] for mount in pod.main["volumeMounts"]}
    assert volumes[mounts["/dev/shm"]]["emptyDir"]["medium"] == "Memory"
    assert mounts[pod.env({})["HEADRACE_DATA_DIR"]] == "data"
    assert "/tmp" in mounts


@pods("api", "worker", "sender", "retries", "cron")
def test_a_change_of_the_settings_restarts_the_pods(case, pod):
    before = pod.metadata["annotations"]["checksum/config"]
    values = values_of(case)
    values["config"] = {**values.get("config", {}), "LOG_LEVEL": "warning"}
    changed = {str(each): each for each in _changed(case, values).pods}[str(pod)]
    assert changed.metadata["annotations"]["checksum/config"] != before


_CHANGED: dict[str, Rendered] = {}


def _changed(case: str, values: dict) -> Rendered:
    if case not in _CHANGED:
        _CHANGED[case] = Rendered(values)
    return _CHANGED[case]


@pods("cards")
def test_cards_are_published_by_a_hook_that_needs_no_gpu(case, pod):
    annotations = pod.owner["metadata"]["annotations"]
    assert set(annotations["helm.sh/hook"].split(",")) >= {"post-install", "post-upgrade"}
    assert "before-hook-creation" in annotations["helm.sh/hook-delete-policy"]
    assert pod.spec["restartPolicy"] == "Never"
    assert "runtimeClassName" not in pod.spec
    [worker] = [
        each
        for each in rendered(case).pods_of("worker")
        if each.labels["headrace/model"] == pod.labels["headrace/model"]
    ]
    assert pod.main["image"] == worker.main["image"]
    assert pod.main["args"][1] == worker.main["args"][1]
    folders = [
        {(m["name"], m["mountPath"]) for m in each.main["volumeMounts"]} for each in (pod, worker)
    ]
    assert folders[0] <= folders[1]


@each_case
def test_every_model_has_its_card_unless_that_is_off(case):
    shown = rendered(case)
    published = {pod.labels["headrace/model"] for pod in shown.pods_of("cards")}
    models = shown.values["models"] if shown.values["cards"]["enabled"] else {}
    assert published == set(models)
