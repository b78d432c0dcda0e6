"""Who is calling, and whether they may."""

from __future__ import annotations

from dataclasses import dataclass

from jobs.errors import Forbidden, QueueUnavailable, Unauthorized
from jobs.keystore import DEFAULT_TENANT, KeyRing, Role

#: A role may do all that the roles before it may.
_RANK = {Role.READ: 0, Role.SUBMIT: 1, Role.ADMIN: 2}


@dataclass(frozen=True, slots=True)
class Caller:
    """The tenant and the role that a request speaks for."""

    tenant: str
    role: Role
    key_id: str | None


#: Everybody, where no key was ever made and the address allows it.
ANYBODY = Caller(DEFAULT_TENANT, Role.ADMIN, None)


class Doorkeeper:
    """Turns an Authorization header into a caller, or refuses it."""

    def __init__(self, ring: KeyRing, *, may_be_open: bool, local_only: bool = False) -> None:
        self._ring = ring
        self._may_be_open = may_be_open
        self._local_only = local_only

    @property
    def open(self) -> bool:
        """Whether requests need no key now."""
        return self._may_be_open and self._ring.known and not self._ring.any

    def admit(self, authorization: bytes | None, role: Role, host: bytes | None = None) -> Caller:
        """Return the caller; raises Unauthorized, Forbidden, QueueUnavailable."""
        caller = self._identify(authorization)
        if caller is ANYBODY and self._local_only and not _names_this_machine(host):
            raise Forbidden(
                "Without a key this server answers to localhost alone, lest a web page reach it by "
                "a name of its own. Call it as localhost, or make a key."
            )
        if _RANK[caller.role] < _RANK[role]:
            raise Forbidden(f"This key has the role {caller.role}; this needs {role}.")
        return caller

    def _identify(self, authorization: bytes | None) -> Caller:
        if self.open:
            return ANYBODY
        if not self._ring.known:
            raise QueueUnavailable("The keys are not known yet, since Redis cannot be reached.")
        if authorization is None:
            raise Unauthorized("Send a key: Authorization: Bearer hr_<id>_<secret>.")
        scheme, _, token = authorization.decode("latin-1").partition(" ")
        record = self._ring.authenticate(token.strip()) if scheme.lower() == "bearer" else None
        if record is None:
            raise Unauthorized("This key is not valid, or was revoked.")
        return Caller(record.tenant, record.role, record.id)


def _names_this_machine(host: bytes | None) -> bool:
    # A page of a foreign name that was pointed at 127.0.0.1 sends that name (DNS rebinding).
    name = (host or b"").decode("latin-1").rsplit("]", 1)[0].lstrip("[")
    if b"[" not in (host or b""):
        name = name.partition(":")[0]
    if name.lower() in {"localhost", "", "::1"}:
        return True
    return name.startswith("127.") and name.replace(".", "").isdigit()
