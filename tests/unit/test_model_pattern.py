"""A text is found for the patterns that people write, and it matches them."""

import re

import pytest

from model_store.pattern import NoMatch, text_matching

PATTERNS = [
    r"^[A-Z]{2}\d{6}$",
    r"^\+?[1-9]\d{1,14}$",
    r"^[a-z0-9]+(?:-[a-z0-9]+)*$",
    r"^(cat|dog)s?$",
    r"^#(?:[0-9a-fA-F]{3}){1,2}$",
    r"^\d{3}-\d{3}-\d{4}$",
    r"^[^@\s]+@[^@\s]+\.[a-z]{2,}$",
    r"^(?=.*[A-Z])(?=.*\d)(?=.*!).{8,}$",
    r"^v\d+\.\d+\.\d+$",
    r"^[\w.-]+$",
    r"^\S+$",
    r"^\D\W$",
    r"^(?P<year>\d{4})-(?P<month>0[1-9]|1[0-2])$",
    r"^[]a-]+$",
    r"^a{,2}b{3}c*?$",
    r"^\t\.\\$",
    r"foo",
    r"",
    r"^[^a-zA-Z0-9]$",
    r"\bword\b",
]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_the_text_matches(pattern: str) -> None:
    assert re.search(pattern, text_matching(pattern, 0, None, 0)) is not None


def test_lengths_are_kept() -> None:
    text = text_matching("^[a-z]+$", 40, 41, 0)
    assert len(text) in {40, 41}


def test_variants_differ() -> None:
    texts = {text_matching(r"^k\d$", 0, None, variant) for variant in range(5)}
    assert len(texts) == 5


@pytest.mark.parametrize("pattern", ["(", r"\p{L}", r"(a)\1", "(?i:a)", r"^a$(?!)", r"[^\s\S]"])
def test_what_is_not_known_is_no_match(pattern: str) -> None:
    with pytest.raises(NoMatch):
        text_matching(pattern, 0, None, 0)
