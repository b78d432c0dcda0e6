"""The settings that say where calls may go, alike for all that check or make them."""

from __future__ import annotations

from pydantic import field_validator

from egress.targets import EgressPolicy
from telemetry.settings import CommaList, CommaListOrUnset, HeadraceSettings, Ports


class EgressSettings(HeadraceSettings):
    """A part of the settings of a process; a wrong entry is named when they are read."""

    webhook_allow: CommaListOrUnset = None
    webhook_deny: CommaList = ()
    webhook_ports: Ports = (443,)

    def egress_policy(self) -> EgressPolicy:
        """Return where webhooks may be sent."""
        return EgressPolicy.parse(self.webhook_allow or (), self.webhook_deny, self.webhook_ports)

    @field_validator("webhook_allow")
    @classmethod
    def _networks_and_names(cls, given: tuple[str, ...] | None) -> tuple[str, ...] | None:
        EgressPolicy.parse(given or ())
        return given

    @field_validator("webhook_deny")
    @classmethod
    def _networks(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        EgressPolicy.parse((), given)
        return given
