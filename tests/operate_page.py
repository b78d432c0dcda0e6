"""docs/operate.md as one with a shell reads it: every command, in the order of the page."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "operate.md").read_text()

#: First words of what no test runs, and why; what is asked of it instead is in
#: tests/unit/k8s/test_operate_page.py.
NOT_RUN = {
    "helm install": "needs a cluster: a dry run is made, and each object held against its schema",
    "helm upgrade": "needs a cluster: as an install with the same values",
    "helm rollback": "needs a cluster: its release has to be the one that was installed",
    "helm test": "needs a cluster: each model has its pod for it, and tests/k8s runs one",
    "kubectl create": "needs a cluster: what it makes is what the chart refers to",
    "kubectl rollout": "needs a cluster: what it waits for is in the chart",
    "kubectl drain": "needs nodes: its options are those that the chart's pods call for",
}
#: What a reader puts in the place of these words.
PLACEHOLDERS = ("ID", "JOB", "DIR", "FOLDER", "NODE")

_FENCE = re.compile(
    r"^(?:<!-- (?P<mark>\w+) -->\n)?```(?P<kind>\w*)\n(?P<text>.*?)^```$", re.M | re.S
)
_SPAN = re.compile(r"`([^`\n]+)`")
#: A value of a YAML file, and not a command.
_VALUE = re.compile(r"[\w.]+: \S+")


@dataclass(frozen=True)
class Command:
    """A command as it stands on the page."""

    text: str
    section: str
    at: int
    #: in a block that is marked as one to run
    marked: bool = False
    #: in a sentence, not in a block
    spoken: bool = False

    @property
    def words(self) -> list[str]:
        return shlex.split(self.text, comments=True)

    @property
    def beginning(self) -> str:
        """The command and its verb, without the options between."""
        words = self.words
        if words[1:2] == ["-n"]:
            del words[1:3]
        return " ".join(words[:2])

    @property
    def asks_redis(self) -> bool:
        """Whether it is said to Redis itself, and not to a shell."""
        return self.spoken and bool(re.fullmatch(r"[A-Z]+", self.words[0]))


def commands() -> list[Command]:
    """Return every command of the page, in blocks and in sentences."""
    found = _in_blocks() + _in_sentences()
    return sorted(found, key=lambda each: each.at)


def values_file() -> str:
    """Return the values.yaml that the page shows."""
    [text] = [each["text"] for each in _FENCE.finditer(PAGE) if each["kind"] == "yaml"]
    assert text.startswith("# values.yaml\n")
    return str(text)


def dotted() -> set[str]:
    """Return the names in sentences that lead to one of the chart's values."""
    return {each for each in _SPAN.findall(_prose()) if re.fullmatch(r"[a-z]\w*(\.\w+)+", each)}


def _in_blocks() -> list[Command]:
    found = []
    for block in _FENCE.finditer(PAGE):
        assert (block["kind"], block["mark"]) in {("sh", "runs"), ("sh", None), ("yaml", None)}
        if block["kind"] == "sh":
            at, section, marked = block.start(), _section(block.start()), bool(block["mark"])
            lines = block["text"].replace("\\\n", " ").splitlines()
            found += [Command(line, section, at + n, marked) for n, line in enumerate(lines)]
    return found


def _in_sentences() -> list[Command]:
    spans = [(each[1], each.start()) for each in _SPAN.finditer(_prose())]
    return [Command(text, _section(at), at, spoken=True) for text, at in spans if _is_command(text)]


def _prose() -> str:
    """Return the page without its blocks; every place is where it was."""
    text = _FENCE.sub(lambda block: re.sub(r"[^\n]", " ", block[0]), PAGE)
    assert "```" not in text, "a block that is not read"
    return text


def _section(at: int) -> str:
    headings = re.finditer(r"^## (.+)$", PAGE, re.M)
    before = takewhile(lambda each: each.start() < at, headings)
    return ["", *(each[1] for each in before)][-1]


def _is_command(text: str) -> bool:
    """More than one word is one; a word by itself is a name, or something said to Redis."""
    if " " in text:
        return not _VALUE.fullmatch(text)
    return bool(re.fullmatch(r"[A-Z]+", text)) and text not in PLACEHOLDERS
