"""A text that matches a regular expression, for the everyday part of the syntax."""

import re
from dataclasses import dataclass

DIGITS, LOWER = "0123456789", "abcdefghijklmnopqrstuvwxyz"
SETS = {"d": DIGITS, "w": f"{LOWER}{DIGITS}_", "s": " "}
CONTROLS = {"n": "\n", "t": "\t", "r": "\r", "f": "\f", "v": "\v"}
#: Begins with one of each kind, which is what look-ahead rules (of passwords, say) ask for.
ANY = f"Aa1!{LOWER}{LOWER.upper()}{DIGITS}-_.:/@ #%&,;=+*?()[]{{}}|~^$'\"<>\\"
#: How many texts are tried before a pattern is given up, for each text asked for.
TRIES = 40


class NoMatch(Exception):
    """No text was found for the pattern."""


@dataclass(frozen=True, slots=True)
class _One:
    """One character out of these."""

    letters: str


@dataclass(frozen=True, slots=True)
class _All:
    """Each part after the other."""

    parts: tuple["_Node", ...]


@dataclass(frozen=True, slots=True)
class _Either:
    """One of the parts."""

    parts: tuple["_Node", ...]


@dataclass(frozen=True, slots=True)
class _Repeat:
    """The part so many times."""

    part: "_Node"
    least: int
    most: int | None


_Node = _One | _All | _Either | _Repeat


def text_matching(pattern: str, least: int, most: int | None, variant: int) -> str:
    """The variant-th text of the wanted length that the pattern is found in."""
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise NoMatch(pattern) from error
    tree = _Parser(pattern).parse()
    found: list[str] = []
    for shift in range(TRIES * (variant + 1)):
        for repeats in range(1, max(least, 8) + 2):
            text = _write(tree, shift, repeats, "")
            text += text[-1:] * (least - len(text))
            fits = most is None or len(text) <= most
            if fits and len(text) >= least and compiled.search(text) and text not in found:
                found.append(text)
                break
        if len(found) > variant:
            return found[variant]
    raise NoMatch(pattern)


def _write(node: _Node, shift: int, repeats: int, before: str) -> str:
    """The text so far with the node's own after it."""
    if isinstance(node, _One):
        return before + node.letters[(shift + len(before)) % len(node.letters)]
    if isinstance(node, _Either):
        return _write(node.parts[shift % len(node.parts)], shift, repeats, before)
    if isinstance(node, _All):
        for part in node.parts:
            before = _write(part, shift, repeats, before)
        return before
    times = max(node.least, repeats if node.most is None else min(repeats, node.most))
    for _ in range(times):
        before = _write(node.part, shift, repeats, before)
    return before


class _Parser:
    """Reads a pattern that re.compile has accepted; what it does not know raises NoMatch."""

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._at = 0

    def parse(self) -> _Node:
        """The whole pattern."""
        tree = self._either()
        if self._at < len(self._pattern):
            raise NoMatch(self._pattern)
        return tree

    def _peek(self) -> str:
        return self._pattern[self._at : self._at + 1]

    def _take(self) -> str:
        self._at += 1
        return self._pattern[self._at - 1 : self._at]

    def _took(self, text: str) -> bool:
        if self._pattern.startswith(text, self._at):
            self._at += len(text)
            return True
        return False

    def _either(self) -> _Node:
        parts = [self._all()]
        while self._took("|"):
            parts.append(self._all())
        return parts[0] if len(parts) == 1 else _Either(tuple(parts))

    def _all(self) -> _Node:
        parts: list[_Node] = []
        while self._peek() not in {"", "|", ")"}:
            parts.append(self._repeated(self._atom()))
        return _All(tuple(parts))

    def _repeated(self, atom: _Node) -> _Node:
        bounds = {"*": (0, None), "+": (1, None), "?": (0, 1)}
        sign = self._peek()
        counted = re.compile(r"\{(\d*)(,?)(\d*)\}").match(self._pattern, self._at)
        if sign in bounds:
            self._at += 1
            least, most = bounds[sign]
        elif counted and (counted[1] or counted[3]):
            self._at = counted.end()
            least = int(counted[1] or 0)
            most = (int(counted[3]) if counted[3] else None) if counted[2] else least
        else:
            return atom
        if self._peek() in {"?", "+"}:  # lazy and possessive match the same texts
            self._at += 1
        return _Repeat(atom, least, most)

    def _atom(self) -> _Node:
        sign = self._take()
        if sign == "(":
            return self._group()
        if sign == "[":
            return self._set()
        if sign == "\\":
            return self._escape()
        if sign in {"^", "$"}:
            return _All(())
        return _One(ANY if sign == "." else sign)

    def _group(self) -> _Node:
        looks = any(self._took(start) for start in ("?=", "?!", "?<=", "?<!"))
        if not looks and self._took("?") and not self._took(":"):
            named = re.compile(r"P?<\w+>").match(self._pattern, self._at)
            if named is None:
                raise NoMatch(self._pattern)
            self._at = named.end()
        inner = self._either()
        if not self._took(")"):
            raise NoMatch(self._pattern)
        # What a look-around demands is left to the check of the finished text.
        return _All(()) if looks else inner

    def _escape(self) -> _Node:
        sign = self._take()
        if sign in "bBAZz":
            return _All(())
        return _One(self._letters_of_escape(sign))

    def _letters_of_escape(self, sign: str) -> str:
        if sign.lower() in SETS:
            letters = SETS[sign.lower()]
            return letters if sign.islower() else _others(letters)
        if sign in CONTROLS:
            return CONTROLS[sign]
        if sign.isalnum():
            raise NoMatch(self._pattern)
        return sign

    def _set(self) -> _Node:
        outside = self._took("^")
        letters = ""
        first = True
        while first or self._peek() != "]":
            sign = self._take()
            if not sign:
                raise NoMatch(self._pattern)
            first = False
            part = self._letters_of_escape(self._take()) if sign == "\\" else sign
            follows = self._pattern[self._at : self._at + 2]
            if len(part) == 1 and follows[:1] == "-" and follows[1:] != "]":
                self._at += 1
                last = self._take()
                last = self._letters_of_escape(self._take()) if last == "\\" else last
                part = "".join(
                    chr(code) for code in range(ord(part), min(ord(last), ord(part) + 256) + 1)
                )
            letters += part
        self._at += 1
        letters = _others(letters) if outside else letters
        if not letters:
            raise NoMatch(self._pattern)
        return _One(letters)


def _others(letters: str) -> str:
    return "".join(each for each in ANY if each not in letters)
