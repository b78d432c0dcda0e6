"""The format of all that is kept: a number, so that no version misreads another's records."""

from __future__ import annotations

from jobs import keys
from jobs.errors import WrongRedis
from jobs.node import Commands

#: Raised only by a change that the version before could not live with. What is one lower is read.
FORMAT = 2


async def check_format(client: Commands, namespace: str, *, claim: bool) -> None:
    """Raise WrongRedis unless this version reads what is there; with `claim`, say that it writes.

    Use it inside `translated()`.
    """
    key = keys.record_format(namespace)
    found = await client.get(key)
    if found is None:
        if claim:
            await client.set(key, FORMAT, nx=True)
        return
    there = int(found)
    if there > FORMAT:
        raise WrongRedis(
            f"This Redis holds records of format {there}, written by a newer Headrace; this one "
            f"reads up to {FORMAT}. Upgrade it."
        )
    if there < FORMAT - 1:
        raise WrongRedis(
            f"This Redis holds records of format {there}; this Headrace reads {FORMAT - 1} and "
            f"{FORMAT}. Start one of the versions between first."
        )
    if claim and there < FORMAT:
        await client.set(key, FORMAT)
