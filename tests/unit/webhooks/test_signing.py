"""Signatures, checked by the reference implementation of Standard Webhooks."""

from __future__ import annotations

import base64
import time

import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from jobs.errors import QueueUnavailable
from jobs.webhook_secrets import new_secret
from webhooks.signing import NoSecret, Signer

from .rig import delivery


def now() -> int:
    """Asked in each test: the reference takes no signature that is older than five minutes."""
    return int(time.time())


class Tenants:
    def __init__(self, **secrets):
        self.secrets = secrets
        self.reads = 0
        self.away = False

    async def signing(self, tenant):
        self.reads += 1
        if self.away:
            raise QueueUnavailable("away")
        return self.secrets.get(tenant, [])


BODY = '{"type":"job.succeeded","data":{"text":"häß 漢 \\u0000"}}'.encode()


async def test_the_reference_accepts_what_we_sign():
    secret = new_secret()
    at = now()
    headers = await Signer(Tenants()).headers(delivery(secret=secret, body=BODY), at)
    Webhook(secret).verify(BODY, headers)
    assert headers["webhook-id"] == delivery().id
    assert headers["webhook-timestamp"] == str(at)
    assert headers["content-type"] == "application/json"
    assert headers["user-agent"].startswith("Headrace-Webhooks/")


async def test_the_reference_refuses_another_body_secret_or_time():
    secret = new_secret()
    at = now()
    headers = await Signer(Tenants()).headers(delivery(secret=secret, body=BODY), at)
    for key, body, changed in [
        (secret, BODY + b" ", {}),
        (new_secret(), BODY, {}),
        (secret, BODY, {"webhook-timestamp": str(at - 1)}),
        (secret, BODY, {"webhook-id": "wh_other"}),
    ]:
        with pytest.raises(WebhookVerificationError):
            Webhook(key).verify(body, headers | changed)


async def test_while_a_secret_rotates_both_sign():
    new, old = new_secret(), new_secret()
    headers = await Signer(Tenants(acme=[new, old])).headers(
        delivery(secret=None, body=BODY), now()
    )
    assert len(headers["webhook-signature"].split(" ")) == 2
    Webhook(new).verify(BODY, headers)
    Webhook(old).verify(BODY, headers)


async def test_the_submits_secret_signs_alone():
    own, tenants = new_secret(), new_secret()
    headers = await Signer(Tenants(acme=[tenants]), new_secret()).headers(
        delivery(secret=own, body=BODY), now()
    )
    assert " " not in headers["webhook-signature"]
    Webhook(own).verify(BODY, headers)


async def test_the_servers_secret_signs_for_tenants_without_one():
    fallback = new_secret()
    headers = await Signer(Tenants(), fallback).headers(delivery(secret=None, body=BODY), now())
    Webhook(fallback).verify(BODY, headers)


async def test_a_secret_that_is_plain_text_signs_with_its_bytes():
    headers = await Signer(Tenants()).headers(
        delivery(secret="correct horse battery", body=BODY), now()
    )
    as_base64 = base64.b64encode(b"correct horse battery").decode()
    Webhook(as_base64).verify(BODY, headers)


@pytest.mark.parametrize("secret", [None, "whsec_!!!", "short"])
async def test_without_a_secret_that_signs_there_are_no_headers(secret):
    with pytest.raises(NoSecret):
        await Signer(Tenants()).headers(delivery(secret=secret), now())


async def test_a_tenants_secrets_are_read_again_after_two_seconds():
    ticks = [0.0]
    tenants = Tenants(acme=[new_secret()])
    signer = Signer(tenants, clock=lambda: ticks[0])
    for ticks[0] in (0.0, 1.9):
        await signer.headers(delivery(secret=None), now())
    assert tenants.reads == 1
    ticks[0] = 2.1
    await signer.headers(delivery(secret=None), now())
    assert tenants.reads == 2


async def test_while_redis_is_away_it_signs_with_what_it_knew():
    ticks = [0.0]
    tenants = Tenants(acme=[new_secret()])
    signer = Signer(tenants, clock=lambda: ticks[0])
    await signer.headers(delivery(secret=None), now())
    tenants.away, ticks[0] = True, 100.0
    assert await signer.headers(delivery(secret=None), now())
    with pytest.raises(QueueUnavailable):
        await signer.headers(delivery(secret=None, tenant="other"), now())
