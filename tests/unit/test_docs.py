"""What the documents say is what the code does."""

import json
import re
import sys
import types
from pathlib import Path

import pytest

from api.settings import ApiSettings
from headrace.settings import UpSettings
from jobs.errors import CODES
from jobs.states import TRANSITIONS, Status
from model_store.loader import load_folder
from telemetry.exposition import Exposition
from telemetry.queue_figures import QueueCollector, QueueFigures
from telemetry.settings import SETTINGS
from telemetry.webhook_figures import PendingCollector
from webhooks.settings import WebhookSettings
from worker.settings import WorkerSettings

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
CLASSES = {
    "api": ApiSettings,
    "worker": WorkerSettings,
    "webhooks": WebhookSettings,
    "up": UpSettings,
}


def sections(name):
    """Each `###` heading of a page with the line that follows it."""
    text = (DOCS / name).read_text()
    return dict(re.findall(r"^### (\S+)\n\n(.+)$", text, re.MULTILINE))


def plain(default):
    if default is None:
        return "unset"
    if isinstance(default, tuple) and default:
        return f"`{','.join(map(str, default))}`"
    return {(): "none", False: "`false`"}.get(default, f"`{default}`")


def test_every_setting_has_its_section_and_no_section_lacks_its_setting():
    assert set(sections("settings.md")) == set(SETTINGS)


@pytest.mark.parametrize("name", SETTINGS)
def test_a_settings_section_names_its_readers_and_its_default(name):
    default, _, readers = sections("settings.md")[name].partition(" · ")
    assert readers == ", ".join(SETTINGS[name].read_by)
    if SETTINGS[name].default is not None:
        assert (
            default.replace("Default: ", "Default ") == f"Default {plain(SETTINGS[name].default)}"
        )
    else:
        assert default.startswith("Default: ")


@pytest.mark.parametrize("process", CLASSES)
def test_a_process_reads_the_settings_that_the_table_gives_it(process):
    fields = {name.upper() for name in CLASSES[process].model_fields}
    assert fields == {name for name, setting in SETTINGS.items() if process in setting.read_by}


@pytest.mark.parametrize("process", CLASSES)
def test_a_process_has_the_defaults_of_the_table(process):
    for name, field in CLASSES[process].model_fields.items():
        if (process, name) == ("up", "redis_url"):
            assert field.default is None, "unset means a server of its own"
            continue
        assert str(field.default) == str(SETTINGS[name.upper()].default), name


def test_every_error_code_has_its_section_and_no_section_lacks_its_code():
    assert set(sections("errors.md")) == set(CODES)


@pytest.mark.parametrize("code", CODES)
def test_an_error_section_says_what_the_table_says(code):
    known = CODES[code]
    where = f"HTTP {known.http_status}" if known.http_status else "Job"
    retry = "retryable" if known.retryable else "not retryable"
    assert sections("errors.md")[code] == f"{where} · {retry} · fault: {known.fault}"


def test_the_diagram_of_states_is_the_table_of_transitions():
    text = (DOCS / "job-states.md").read_text()
    [diagram] = re.findall(r"```mermaid\n(.*?)```", text, re.DOTALL)
    arrows = re.findall(r"^\s*(\S+) --> (\w+|\[\*\])", diagram, re.MULTILINE)
    drawn = {status: set() for status in Status}
    ends = set()
    for source, target in arrows:
        if target == "[*]":
            ends.add(Status(source))
        elif source != "[*]":
            drawn[Status(source)].add(Status(target))
    assert drawn == {status: set(targets) for status, targets in TRANSITIONS.items()}
    assert ends == {status for status, targets in TRANSITIONS.items() if not targets}


def pages():
    found = [*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *ROOT.glob("examples/*/*.md")]
    return [*found, *ROOT.glob("k8s/*/*.md")]


def anchors(page):
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_between_documents_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path) if path else page
        assert linked.exists(), target
        if anchor:
            assert anchor in anchors(linked), target


def test_every_metric_has_its_row_and_no_row_lacks_its_metric():
    figures = QueueFigures(model="m", queued=0, running=0, workers_ready=0)
    exposition = Exposition(QueueCollector(lambda: [figures]), PendingCollector(lambda: 0))
    names = set()
    for metric in exposition.registry.collect():
        total = "_total" if metric.type == "counter" else ""
        names.add(metric.name.removeprefix("headrace_") + total)
    text = (DOCS / "metrics.md").read_text()
    assert set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)) == names


def code(language, beginning):
    blocks = re.findall(rf"```{language}\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    [found] = [block for block in blocks if block.startswith(beginning)]
    return found


def test_the_model_in_the_readme_is_one(tmp_path, monkeypatch):
    text = code("python", "# sentiment/model.py")
    assert len([line for line in text.splitlines() if line.strip()]) <= 20
    (tmp_path / "sentiment").mkdir()
    (tmp_path / "sentiment" / "model.py").write_text(text)
    answers = [{"label": "POSITIVE", "score": 0.99}]
    library = types.ModuleType("transformers")
    library.pipeline = lambda task, device: lambda texts: answers * len(texts)
    monkeypatch.setitem(sys.modules, "transformers", library)
    loaded = load_folder(tmp_path / "sentiment")
    assert loaded.manifest.name == "sentiment"
    assert loaded.limits.max_batch == 32
    assert [loaded.Output.model_validate(answer).label for answer in answers] == ["POSITIVE"]


def test_the_request_in_the_readme_fits_its_model():
    sent = re.search(r"models/(\S+)/jobs.*?-d '(.*?)'", code("bash", "curl"), re.DOTALL)
    model, body = sent.groups()
    example = (ROOT / "examples" / model / "README.md").read_text()
    assert json.dumps(json.loads(body)) in example
