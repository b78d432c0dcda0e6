"""What handlers ask for with `Depends`; each is a coroutine function of the request alone."""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import Depends
from starlette.requests import Request

from api.auth import Caller
from api.front import Front
from api.middleware import HEADERS
from jobs.keystore import Role


async def front_of(request: Request) -> Front:
    """Return what this process holds."""
    return cast("Front", request.scope["app"].front)


async def reader(request: Request) -> Caller:
    """Admit any key."""
    return admit(request, Role.READ)


async def submitter(request: Request) -> Caller:
    """Admit keys that may submit."""
    return admit(request, Role.SUBMIT)


async def administrator(request: Request) -> Caller:
    """Admit keys of the role admin."""
    return admit(request, Role.ADMIN)


def admit(request: Request, role: Role) -> Caller:
    """Return the caller if the key may act in this role."""
    front: Front = request.scope["app"].front
    given = request.scope[HEADERS]
    return front.doorkeeper.admit(given.get(b"authorization"), role, given.get(b"host"))


FrontDep = Annotated[Front, Depends(front_of)]
ReaderDep = Annotated[Caller, Depends(reader)]
SubmitterDep = Annotated[Caller, Depends(submitter)]
AdministratorDep = Annotated[Caller, Depends(administrator)]
