"""The host of a URL: an address in its one usual spelling, or a name in ASCII."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address

import idna

from egress.addresses import Address

#: Underscores are no host names by the book, yet the names of containers have them.
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?", re.ASCII)
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*", re.ASCII)
_LONGEST = 253


class ForbiddenTarget(ValueError):
    """This may not be called; `reason` says why, in words that a tenant may read."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def ipv6(text: str) -> IPv6Address:
    """Return the address that stood between brackets."""
    try:
        address = IPv6Address(text)
    except ValueError:
        raise ForbiddenTarget("what is in the brackets is not an IPv6 address") from None
    if address.ipv4_mapped:
        raise ForbiddenTarget("an IPv4 address must be written as four decimal numbers")
    return address


def ipv4_or_name(text: str) -> Address | str:
    """Return the address, or the name in lower-case ASCII; every other spelling is refused."""
    if not text:
        raise ForbiddenTarget("the host is missing")
    if len(text) > _LONGEST:
        raise ForbiddenTarget(f"the host is longer than {_LONGEST} characters")
    name = _ascii(text)
    if name.endswith("."):
        raise ForbiddenTarget("the host must not end in a dot")
    # As in the URL standard, a host whose last label is a number is an address or nothing. The
    # resolver of the system would take 2130706433, 0177.0.0.1, 0x7f.1 and 127.1 for 127.0.0.1.
    if _NUMBER.fullmatch(name.rpartition(".")[2]):
        return _ipv4(text)
    if len(name) > _LONGEST or not all(_LABEL.fullmatch(label) for label in name.split(".")):
        raise ForbiddenTarget("the host is not a valid name")
    return name


def _ascii(text: str) -> str:
    if text.isascii() and "xn--" not in text.lower():
        return text.lower()
    try:
        return idna.encode(text, uts46=True, std3_rules=True).decode("ascii")
    except UnicodeError:
        raise ForbiddenTarget("the host is not a valid international name") from None


def _ipv4(text: str) -> IPv4Address:
    try:
        return IPv4Address(text)
    except ValueError:
        raise ForbiddenTarget("an IPv4 address must be written as four decimal numbers") from None
