"""What holds between the objects of every case: names, Services, scaling, policies, secrets."""

from __future__ import annotations

import base64
import ipaddress
import json
import re
from urllib.parse import urlsplit

import pytest
import yaml

from jobs.connection import RedisConnections
from jobs.keystore import KeyRing, KeyStore
from tests.unit.k8s.rendered import CASES, CHART, NAMESPACE, RELEASE, Rendered, rendered
from tests.unit.k8s.test_chart_pods import meets

each_case = pytest.mark.parametrize("case", CASES)
PRIVATE = ["10.0.0.1", "172.16.0.1", "192.168.0.1", "169.254.169.254", "127.0.0.1", "100.64.0.1"]


@each_case
def test_every_object_is_labelled_and_its_name_fits_a_label(case):
    for doc in rendered(case).docs:
        labels = doc["metadata"]["labels"]
        assert labels["app.kubernetes.io/instance"] == RELEASE
        assert {"app.kubernetes.io/name", "app.kubernetes.io/component"} <= labels.keys()
        assert len(doc["metadata"]["name"]) <= 63
        assert "namespace" not in doc["metadata"]


@each_case
def test_no_two_objects_have_one_name(case):
    names = [(doc["kind"], doc["metadata"]["name"]) for doc in rendered(case).docs]
    assert len(set(names)) == len(names)


@each_case
def test_a_service_leads_to_ports_that_its_pods_have(case):
    shown = rendered(case)
    for service in shown.of("Service"):
        behind = [pod for pod in shown.pods if meets(service["spec"]["selector"], pod)]
        assert len(behind) == 1
        names = {port["name"] for port in behind[0].main["ports"]}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= names


@each_case
def test_routes_from_outside_lead_to_the_api_and_wait_long_enough(case):
    shown = rendered(case)
    services = {s["metadata"]["name"]: s["spec"]["ports"] for s in shown.of("Service")}
    for ingress in shown.of("Ingress"):
        annotations = ingress["metadata"]["annotations"]
        prefix = "nginx.ingress.kubernetes.io/proxy-"
        assert min(int(annotations[f"{prefix}{end}-timeout"]) for end in ("read", "send")) >= 90
        assert annotations[f"{prefix}buffering"] == "off"
        [path] = ingress["spec"]["rules"][0]["http"]["paths"]
        to = path["backend"]["service"]
        assert to["port"]["name"] in {port["name"] for port in services[to["name"]]}
    for route in shown.of("HTTPRoute"):
        events, rest = route["spec"]["rules"]
        assert events["timeouts"] == {"request": "0s"}
        assert re.fullmatch(events["matches"][0]["path"]["value"], "/v1/jobs/job_1/events")
        assert int(rest["timeouts"]["request"].removesuffix("s")) >= 90
        for rule in (events, rest):
            [to] = rule["backendRefs"]
            assert to["port"] in {port["port"] for port in services[to["name"]]}


@each_case
def test_what_is_scaled_has_no_number_of_pods_of_its_own(case):
    shown = rendered(case)
    scaled = {
        each["spec"]["scaleTargetRef"]["name"]
        for each in shown.of("HorizontalPodAutoscaler", "ScaledObject")
    }
    deployments = {each["metadata"]["name"]: each for each in shown.of("Deployment")}
    assert scaled <= deployments.keys()
    for name, deployment in deployments.items():
        assert ("replicas" in deployment["spec"]) == (name not in scaled)


@each_case
def test_keda_asks_the_scale_route_of_the_models_api_with_a_key_that_may_read(case):
    shown = rendered(case)
    for scaled in shown.of("ScaledObject"):
        [trigger] = scaled["spec"]["triggers"]
        url = urlsplit(trigger["metadata"]["url"])
        service, namespace, _ = url.hostname.split(".")
        ports = {p["port"] for p in shown.named("Service", service)["spec"]["ports"]}
        assert (namespace, url.port in ports) == (NAMESPACE, True)
        [worker] = [
            pod
            for pod in shown.pods_of("worker")
            if pod.owner["metadata"]["name"] == scaled["spec"]["scaleTargetRef"]["name"]
        ]
        entry = worker.labels["headrace/model"]
        own = shown.values["models"][entry] or {}
        target = "@".join(filter(None, [own.get("name", entry), own.get("version")]))
        assert url.path == f"/v1/models/{target}/scale"
        assert trigger["metadata"]["valueLocation"] == "wanted"
        assert (trigger["metadata"]["targetValue"], trigger["metricType"]) == ("1", "AverageValue")
        assert scaled["spec"]["pollingInterval"] == 5
        behaviour = scaled["spec"]["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
        assert behaviour["scaleDown"]["stabilizationWindowSeconds"] >= 60
        asks_with = shown.named("TriggerAuthentication", trigger["authenticationRef"]["name"])
        [key] = asks_with["spec"]["secretTargetRef"]
        assert key["key"] == shown.values["keys"]["readEntry"]


def test_without_keda_the_backlog_of_the_model_is_scaled_on():
    [scaler] = [
        each
        for each in rendered("hpa").of("HorizontalPodAutoscaler")
        if "worker" in each["metadata"]["name"]
    ]
    [metric] = scaler["spec"]["metrics"]
    assert metric["external"]["metric"] == {
        "name": "headrace_backlog_seconds",
        "selector": {"matchLabels": {"model": "echo"}},
    }
    assert metric["external"]["target"] == {"type": "Value", "value": "30"}
    assert scaler["spec"]["minReplicas"] == 1


@each_case
def test_budgets_are_of_pods_that_there_are(case):
    shown = rendered(case)
    for budget in shown.of("PodDisruptionBudget"):
        assert len([p for p in shown.pods if meets(budget["spec"]["selector"], p)]) == 1


@each_case
def test_each_pod_but_the_test_has_one_policy_both_ways(case):
    shown = rendered(case)
    policies = shown.of("NetworkPolicy")
    if not shown.values["networkPolicy"]["enabled"]:
        assert policies == []
        return
    for pod in shown.pods:
        over = [policy for policy in policies if meets(policy["spec"]["podSelector"], pod)]
        assert len(over) == (pod.component != "test"), str(pod)
        assert all(policy["spec"]["policyTypes"] == ["Ingress", "Egress"] for policy in over)


@each_case
def test_the_sender_reaches_no_private_address_unless_it_is_allowed(case):
    shown = rendered(case)
    allowed = [each for each in shown.values["webhooks"]["allow"] if "/" in each]
    for policy in shown.of("NetworkPolicy"):
        if not policy["metadata"]["name"].endswith("-sender"):
            continue
        blocks = [
            peer["ipBlock"]
            for rule in policy["spec"]["egress"]
            for peer in rule.get("to", [])
            if "ipBlock" in peer
        ]
        for text in [*PRIVATE, *[each.split("/")[0] for each in shown.values["webhooks"]["deny"]]]:
            passed = [block["cidr"] for block in blocks if lets(block, text)]
            assert set(passed) <= set(allowed), (text, passed)
        assert any(lets(block, "8.8.8.8") for block in blocks)


def test_the_sender_reaches_what_is_allowed_by_its_address_alone_and_a_collector():
    collector = {"to": [{"ipBlock": {"cidr": "10.9.0.1/32"}}], "ports": [{"port": 4318}]}
    allow = ["10.2.0.7", "fd00:2::1", "hooks.internal"]
    shown = Rendered({"webhooks": {"allow": allow, "egress": [collector]}})
    for policy in shown.of("NetworkPolicy"):
        rules = policy["spec"]["egress"]
        name = policy["metadata"]["name"]
        assert (collector in rules) == name.endswith(("-sender", "-retries")), name
        if name.endswith("-sender"):
            peers = [peer for rule in rules for peer in rule.get("to", [])]
            to = {peer["ipBlock"]["cidr"] for peer in peers if "ipBlock" in peer}
            assert {"10.2.0.7/32", "fd00:2::1/128"} <= to


def lets(block, text):
    address = ipaddress.ip_address(text)
    inside = [ipaddress.ip_network(each) for each in block.get("except", [])]
    return address in ipaddress.ip_network(block["cidr"]) and not any(
        address in each for each in inside
    )


def test_exceptions_lie_within_their_block():
    for case in CASES:
        for policy in rendered(case).of("NetworkPolicy"):
            for rule in policy["spec"].get("egress", []):
                for peer in rule.get("to", []):
                    block = peer.get("ipBlock", {})
                    for each in block.get("except", []):
                        inner = ipaddress.ip_network(each)
                        assert inner.subnet_of(ipaddress.ip_network(block["cidr"]))


@each_case
def test_secrets_are_in_secrets_alone(case):
    shown = rendered(case)
    for doc in shown.docs:
        if doc["kind"] != "Secret":
            assert not re.search(r"hr_[0-9A-Za-z]{12}_|whsec_|://[^@/$\"]+@", json.dumps(doc))
    for pod in shown.pods:
        for each in pod.main.get("env", []):
            if re.search(r"SECRET|PASSWORD|AUTH$|API_KEY", each["name"]):
                assert "secretKeyRef" in each["valueFrom"]
            if each["name"].endswith("REDIS_URL") and "value" in each:
                assert re.fullmatch(
                    r"redis://(:\$\(REDIS_PASSWORD\)@)?[a-z-]+-redis:6379/0", each["value"]
                )


async def test_the_keys_that_are_made_are_keys_with_their_roles(tmp_path, redis_url):
    [secret] = rendered("trial").of("Secret")
    data = {name: base64.b64decode(text).decode() for name, text in secret["data"].items()}
    assert secret["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    (tmp_path / "keys").write_text(data["keys"])
    async with RedisConnections(redis_url) as connections, KeyRing(connections) as ring:
        await KeyStore(connections).seed(tmp_path / "keys")
        await ring.refresh()
        for role in ("admin", "submit", "read"):
            assert ring.authenticate(data[f"{role}-key"]).role == role


def test_the_monitors_choose_what_serves_metrics():
    shown = rendered("monitoring")
    [monitor] = shown.of("ServiceMonitor")
    chosen = [
        service
        for service in shown.of("Service")
        if monitor["spec"]["selector"]["matchLabels"].items()
        <= service["metadata"]["labels"].items()
    ]
    [service] = chosen
    assert service["spec"]["ports"][0]["name"] == monitor["spec"]["endpoints"][0]["port"]
    [monitor] = shown.of("PodMonitor")
    behind = [pod for pod in shown.pods if meets(monitor["spec"]["selector"], pod)]
    assert {pod.component for pod in behind} == {"worker", "sender", "retries", "cron"}
    for pod in behind:
        assert "metrics" in {port["name"] for port in pod.main["ports"]}


@pytest.mark.skipif(
    not (CHART / "files" / "alerts.yaml").exists(), reason="the chart has no files/alerts.yaml"
)
def test_the_alerts_are_those_of_the_file():
    [rule] = Rendered({"metrics": {"rules": {"enabled": True}}}).of("PrometheusRule")
    assert rule["spec"] == yaml.safe_load((CHART / "files" / "alerts.yaml").read_text())


def test_each_alert_leads_to_where_the_docs_are():
    shown = rendered("monitoring")
    [rule] = shown.of("PrometheusRule")
    text = json.dumps(rule["spec"])
    found = re.findall(r'"runbook_url": "(.*?)"', text)
    page = (CHART.parents[1] / "docs" / "alerts.md").read_text()
    at = shown.values["metrics"]["rules"]["docsUrl"].rstrip("/")
    assert at.startswith("https://")
    assert set(found) == {
        f"{at}/alerts.md#{name.lower()}" for name in re.findall(r"^## (Headrace\w+)", page, re.M)
    }
    assert len(found) == text.count('"alert": ')


@pytest.mark.skipif(
    not (CHART / "files" / "dashboard.json").exists(),
    reason="the chart has no files/dashboard.json",
)
def test_the_dashboard_is_that_of_the_file():
    [found] = [
        each
        for each in rendered("monitoring").of("ConfigMap")
        if each["metadata"]["labels"].get("grafana_dashboard") == "1"
    ]
    [text] = found["data"].values()
    assert json.loads(text) == json.loads((CHART / "files" / "dashboard.json").read_text())
