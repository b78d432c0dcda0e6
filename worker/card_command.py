"""`--publish-cards`: the cards of model folders in Redis, without a device and without a worker.

A model whose card is known takes jobs although nobody serves it yet, and so can wake its first
worker.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial

import orjson

from jobs.cards import CardStore
from jobs.connection import RedisConnections
from jobs.overview import overview
from jobs.shards import shards_for_model
from model_store.errors import ModelFolderError
from model_store.manifest import Manifest
from telemetry import logs
from worker.assembly import queue_options
from worker.backoff import TRANSIENT, Backoff
from worker.card_publisher import STAMP
from worker.engine_process import ENGINE_COMMAND, EngineProcess
from worker.settings import WorkerSettings
from worker.wire import Described, Load, LoadFailed, ToFeeder

#: seconds that the author's code may take to be imported
DESCRIBE_LIMIT_S = 300.0
#: Members in which a card of a loaded model differs from one that was only described: `load` may
#: set limits by what the device can do, and the queue adds where the model lived before.
_LATER = (STAMP, "limits", "earlier_shards")

log = logs.get("worker.card_command")


class NotPublished(Exception):
    """Redis could not be told of a card in time; the text says why."""


async def publish_cards(
    settings: WorkerSettings, manifests: Sequence[Manifest], within_s: float
) -> None:
    """Publish the card of each folder; raises ModelFolderError, WrongRedis, NotPublished."""
    described = [(manifest, await describe(settings, manifest)) for manifest in manifests]
    async with RedisConnections(
        settings.redis_url, namespace=settings.namespace, durability=settings.durability
    ) as connections:
        until = asyncio.get_running_loop().time() + within_s
        await _insist(connections.verify, until)
        for manifest, card in described:
            await _insist(partial(_publish, settings, connections, manifest, card), until)


async def describe(settings: WorkerSettings, manifest: Manifest) -> bytes:
    """Return the card of a folder, which an engine without a device makes of it."""
    process = await EngineProcess.spawn(ENGINE_COMMAND)
    process.send(
        Load(
            path=str(manifest.path),
            name=manifest.name,
            version=manifest.version,
            device="cpu",
            shards=shards_for_model(manifest.name, manifest.shards),
            log_format=settings.log_format,
            only_describe=True,
        )
    )
    said: list[ToFeeder] = []
    try:
        async with asyncio.timeout(DESCRIBE_LIMIT_S):
            code = await process.listen(said.extend)
    except TimeoutError as error:
        raise ModelFolderError(
            f"{manifest.path} was not imported within {DESCRIBE_LIMIT_S:g} s."
        ) from error
    finally:
        process.stacks.close()
    for frame in said:
        if isinstance(frame, Described):
            return frame.card
        if isinstance(frame, LoadFailed):
            raise ModelFolderError(frame.detail)
    raise ModelFolderError(f"The process that imports {manifest.path} ended with code {code}.")


async def _insist(act: Callable[[], Awaitable[object]], until: float) -> None:
    clock = asyncio.get_running_loop().time
    backoff = Backoff(0.1, 2.0)
    while True:
        try:
            await act()
        except TRANSIENT as error:
            pause_s = backoff.next_s()
            if clock() + pause_s > until:
                raise NotPublished(f"No card was published: {error.detail}") from error
            log.warning("card_not_published", why=error.detail)
            await asyncio.sleep(pause_s)
        else:
            return


async def _publish(
    settings: WorkerSettings, connections: RedisConnections, manifest: Manifest, card: bytes
) -> None:
    store, name, version = CardStore(connections), manifest.name, manifest.version
    serving = (await store.production()).get(name)
    known = {(entry.model, entry.version): entry.card for entry in await store.entries()}
    if serving == version and _said(known.get((name, version))) == _said(orjson.loads(card)):
        log.info("card_known", model=name, version=version)
    elif settings.pinned_only:
        await store.publish(card, model=name, version=version, production=False)
        log.info("card_published", model=name, version=version, loaded=False)
    elif serving not in (None, version) and await _served(settings, connections, name, serving):
        # A new version gets the unpinned submits only once one of its workers has loaded it.
        log.info("card_left_to_its_worker", model=name, version=version, serving=serving)
    else:
        await store.publish(card, model=name, version=version)
        log.info("card_published", model=name, version=version, loaded=False)


async def _served(
    settings: WorkerSettings, connections: RedisConnections, model: str, version: str | None
) -> bool:
    """Whether a worker of that version lives, stays, and is there for everybody."""
    shards = {
        shard
        for entry in await CardStore(connections).entries()
        if entry.model == model
        for shard in entry.served
    }
    load = await overview(
        connections, queue_options(settings), model=model, versions=[], shards=sorted(shards)
    )
    return version in replace(load, workers=[w for w in load.workers if not w.pinned_only]).served


def _said(card: dict[str, object] | None) -> dict[str, object] | None:
    if card is None:
        return None
    return {name: value for name, value in card.items() if name not in _LATER}
