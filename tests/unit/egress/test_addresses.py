"""The list of addresses that may not be called, at its edges and against the library's own."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from egress.addresses import DENIED, canonical, may_call

INSIDE = """
    0.0.0.0 0.255.255.255 10.0.0.0 10.255.255.255 100.64.0.0 100.127.255.255 127.0.0.0
    127.255.255.255 168.63.129.16 169.254.0.0 169.254.169.254 169.254.255.255 172.16.0.0
    172.31.255.255 192.0.0.0 192.0.0.255 192.0.2.0 192.0.2.255 192.88.99.0 192.88.99.255
    192.168.0.0 192.168.255.255 198.18.0.0 198.19.255.255 198.51.100.0 198.51.100.255 203.0.113.0
    203.0.113.255 224.0.0.0 239.255.255.255 240.0.0.0 255.255.255.255
    :: ::1 ::7f00:1 ::808:808 64:ff9b:: 64:ff9b::ffff:ffff 64:ff9b:1:: 64:ff9b:1:ffff::1 100::
    100::ffff 1fff:: 2001:: 2001:0:1::1 2001:2::1 2001:10::1 2001:20:: 2001:2f:: 2001:1ff::
    2001:db8:: 2001:db8:ffff:: 2002:: 2002:ffff:: 3ffe::1 3fff:: 3fff:fff:: 4000:: 5f00::
    5f00:ffff:: fc00:: fd00:ec2::254 fdff:ffff:: fe80:: febf:ffff:: fec0:: feff:ffff:: ff00::
    ffff:: ff02::1 ::ffff:0:7f00:1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:a9fe:a9fe
"""

PUBLIC = """
    1.0.0.0 1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.0 93.184.216.34 100.63.255.255 100.128.0.0
    126.255.255.255 128.0.0.0 168.63.129.15 168.63.129.17 169.253.255.255 169.255.0.0 172.15.255.255
    172.32.0.0 192.0.1.0 192.0.3.0 192.88.98.255 192.88.100.0 192.167.255.255 192.169.0.0
    198.17.255.255 198.20.0.0 198.51.99.255 198.51.101.0 203.0.112.255 203.0.114.0 223.255.255.255
    2000::1 2001:200:: 2001:4860:4860::8888 2001:db7:ffff:: 2001:db9:: 2003::1 2606:4700:4700::1111
    2a00:1450:4001::1 3ffd:ffff:: 3fff:1000:: ::ffff:8.8.8.8
"""


@pytest.mark.parametrize("address", INSIDE.split())
def test_what_is_inside_may_not_be_called(address: str) -> None:
    assert not may_call(address)


@pytest.mark.parametrize("address", PUBLIC.split())
def test_what_is_public_may_be_called(address: str) -> None:
    assert may_call(address)


@settings(max_examples=300, deadline=None)
@given(st.ip_addresses())
def test_the_list_is_no_laxer_than_the_librarys(address: IPv4Address | IPv6Address) -> None:
    number = canonical(address)
    if may_call(number):
        assert (number.is_global, number.is_multicast, number.is_reserved) == (True, False, False)


def test_every_network_is_denied_at_both_ends() -> None:
    ends = [network[place] for network in DENIED for place in (0, -1)]
    assert [end for end in ends if may_call(end)] == []


@pytest.mark.parametrize("text", ["", "localhost", "127.1", "fe80::1%eth0", "2606:4700::1%1", "1"])
def test_what_is_no_plain_address_may_not_be_called(text: str) -> None:
    assert not may_call(text, allow=[ip_network("::/0"), ip_network("0.0.0.0/0")])


def test_allowed_wins_over_both_denials() -> None:
    private, public = ip_network("10.1.0.0/16"), ip_network("8.8.0.0/16")
    assert may_call("10.1.2.3", allow=[private])
    assert may_call("::ffff:10.1.2.3", allow=[private])
    assert not may_call("10.2.2.3", allow=[private])
    assert not may_call("8.8.8.8", deny=[public])
    assert not may_call("::ffff:8.8.8.8", deny=[public])
    assert may_call("8.8.8.8", allow=[ip_network("8.8.8.8/32")], deny=[public])


def test_one_family_says_nothing_of_the_other() -> None:
    assert not may_call("127.0.0.1", allow=[ip_network("::/0")])
    assert not may_call("::1", allow=[ip_network("0.0.0.0/0")])
