"""Deliveries, endpoints and what may be told of secrets, as the JSON that callers see."""

from __future__ import annotations

from typing import Any

from jobs.view import timestamp
from jobs.webhook import DeliveryRecord, Endpoint, Try
from jobs.webhook_secrets import SecretStatus


def delivery_object(record: DeliveryRecord) -> dict[str, Any]:
    """Return a delivery with its tries, as its own tenant sees it."""
    return {
        "id": record.id,
        "type": record.type,
        "url": record.url,
        "status": record.status,
        "created_at": timestamp(record.created_at),
        "next_at": timestamp(record.next_at),
        "tries": [_try(each) for each in record.tries],
    }


def _try(each: Try) -> dict[str, Any]:
    return {
        "at": timestamp(each.at),
        "outcome": each.outcome,
        "status": each.status,
        "seconds": each.seconds,
        "error": each.error,
        "response": each.response,
        "next_at": timestamp(each.next_at),
    }


def undelivered_object(record: DeliveryRecord) -> dict[str, Any]:
    """Return a delivery as an administrator sees it: whose it is, and not what was answered."""
    shown = delivery_object(record)
    for each in shown["tries"]:
        del each["response"]
    is_job = record.owner.startswith("job_")
    return {
        **shown,
        "tenant": record.tenant,
        "job": record.owner if is_job else None,
        "batch": None if is_job else record.owner,
        "endpoint": record.endpoint,
    }


def endpoint_object(endpoint: Endpoint) -> dict[str, Any]:
    """Return an endpoint that fails or is disabled."""
    disabled = endpoint.disabled_at is not None
    return {
        "id": endpoint.id,
        "tenant": endpoint.tenant,
        "url": endpoint.url,
        "status": "disabled" if disabled else "failing",
        "reason": endpoint.reason,
        "failing_since": timestamp(endpoint.failing_since),
        "disabled_at": timestamp(endpoint.disabled_at),
    }


def secret_object(status: SecretStatus) -> dict[str, Any]:
    """Return that a tenant has a secret, never the secret."""
    return {
        "tenant": status.tenant,
        "created_at": timestamp(status.created_at),
        "previous_until": timestamp(status.previous_until),
    }
