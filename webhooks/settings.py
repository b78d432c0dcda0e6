"""The settings of the processes of webhooks; what each does stands in telemetry/settings.py."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, SecretStr, field_validator

from egress.settings import EgressSettings
from jobs.policy import QueueOptions
from jobs.webhook_secrets import key_of
from telemetry.settings import DAY_S

Port = Annotated[int, Field(ge=0, le=65535)]


class WebhookSettings(EgressSettings):
    """Read once, in webhooks/main.py."""

    redis_url: str = "redis://127.0.0.1:6379/0"
    namespace: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")] = "hr"
    durability: Literal["always", "everysec", "replicated"] = "always"
    result_ttl_s: PositiveFloat = 3600
    dead_ttl_s: PositiveFloat = 7 * DAY_S
    max_queue_age_s: PositiveFloat = 7 * DAY_S
    drain_s: NonNegativeFloat = 30
    metrics_port: Port | None = None
    probe_host: str = "127.0.0.1"
    rq_redis_url: str | None = None
    webhook_secret: SecretStr | None = None
    # A delivery is leased for a minute, and a try must end well before.
    webhook_timeout_s: Annotated[float, Field(gt=0, le=30)] = 15
    webhook_delay_scale: Annotated[float, Field(gt=0, le=10)] = 1.0

    def queue_options(self) -> QueueOptions:
        """Return the numbers that the queue's scripts need."""
        return QueueOptions(
            result_ttl_s=self.result_ttl_s,
            dead_ttl_s=self.dead_ttl_s,
            max_queue_age_s=self.max_queue_age_s,
        )

    @property
    def rq_url(self) -> str:
        """The Redis of RQ; a Cluster is refused where the connection is made."""
        return self.rq_redis_url or self.redis_url

    def secret(self) -> str | None:
        """Return the secret of tenants that have none."""
        return None if self.webhook_secret is None else self.webhook_secret.get_secret_value()

    @field_validator("webhook_secret")
    @classmethod
    def _signs(cls, given: SecretStr | None) -> SecretStr | None:
        if given is not None:
            key_of(given.get_secret_value())
        return given
