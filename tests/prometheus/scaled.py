"""The chart's rules at another pace: what takes Prometheus minutes to hours takes it seconds."""

from __future__ import annotations

import re

#: An hour of the rules takes a minute.
FACTOR = 60
_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
_TIME = rf"(?:\d+(?:{'|'.join(_MS)}))+"
#: Where a rule says for how long it waits, and where an expression says how far it looks back.
_PLACES = re.compile(
    rf"(?m)(?<=for: ){_TIME}$|(?<=\[){_TIME}(?=[\]:])|(?<=\d[smhdw]:){_TIME}(?=\])"
    rf"|(?<=offset ){_TIME}\b|(?<=offset -){_TIME}\b"
)


def milliseconds(time: str) -> int:
    """Read a time as Prometheus writes it."""
    return sum(int(number) * _MS[unit] for number, unit in re.findall(r"(\d+)([a-z]+)", time))


def scaled(rules: str, factor: int = FACTOR) -> str:
    """Divide each time in a rule file by the factor, and leave all else as it is."""

    def divide(found: re.Match[str]) -> str:
        whole, rest = divmod(milliseconds(found[0]), factor)
        assert whole > 0, found[0]
        assert rest == 0, found[0]
        return f"{whole}ms"

    return _PLACES.sub(divide, rules)


def times(rules: str) -> list[int]:
    """Return every time in a rule file, in milliseconds."""
    return [milliseconds(found[0]) for found in _PLACES.finditer(rules)]


def without_times(rules: str) -> str:
    """Return all of a rule file but its times."""
    return _PLACES.sub("TIME", rules)
