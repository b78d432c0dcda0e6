"""The addresses that nobody outside may have called: a list of our own, for both families."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

#: Not `ipaddress.is_global`: its answers differ by Python version, and it calls multicast, 6to4,
#: NAT64 and others public.
DENIED: tuple[Network, ...] = tuple(
    ip_network(network)
    for network in (
        "0.0.0.0/8",  # this host
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # carrier NAT; Alibaba's metadata
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # Azure's wire server: public by number, the host by route
        "169.254.0.0/16",  # link-local: the metadata of AWS, Azure, Google
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments; Oracle's metadata
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
        # Global unicast is 2000::/3. Below it are ::, ::1, IPv4-compatible (::/96), NAT64
        # (64:ff9b::/96, 64:ff9b:1::/48) and discard (100::/64).
        "::/3",
        # 5f00::/16 (segment routing), and what nobody was given.
        "4000::/2",
        # fc00::/7 (unique local; AWS's metadata is fd00:ec2::254), fe80::/10 (link-local),
        # fec0::/10 (site-local), ff00::/8 (multicast), and what nobody was given.
        "8000::/1",
        "2001::/23",  # protocol assignments: Teredo, ORCHID (2001:20::/28), benchmarks
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4: an IPv4 address inside
        "3ffe::/16",  # 6bone, given back
        "3fff::/20",  # documentation
    )
)


def canonical(address: str | Address) -> Address:
    """Return the address as it is connected to: ::ffff:a.b.c.d is a.b.c.d; a scope is refused."""
    parsed = ip_address(address)
    if isinstance(parsed, IPv6Address):
        if parsed.scope_id is not None:
            raise ValueError(f"{address} is bound to an interface")
        return parsed.ipv4_mapped or parsed
    return parsed


def contains(networks: Iterable[Network], address: Address) -> bool:
    """Return whether the address is in any of the networks."""
    return any(address.version == net.version and address in net for net in networks)


def may_call(
    address: str | Address, allow: Iterable[Network] = (), deny: Iterable[Network] = ()
) -> bool:
    """Return whether the address may be called: `allow` wins over `deny` and over our own list."""
    try:
        number = canonical(address)
    except ValueError:
        return False
    if contains(allow, number):
        return True
    return not (contains(DENIED, number) or contains(deny, number))
