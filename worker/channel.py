"""The two ends of the socketpair between feeder and engine.

A frame travels as a 4-byte big-endian length and its msgpack body. Both sides may put many
frames into one write: a read answers with all that came.
"""

import asyncio
import socket
from collections.abc import Iterable
from typing import Generic, TypeVar

import msgspec

from worker.wire import Frame, ToEngine, ToFeeder

#: bytes; a longer frame means that the stream is broken, not that a result is large
MAX_FRAME = 1 << 30
READ_SIZE = 1 << 18
HEADER = 4
AnyFrame = TypeVar("AnyFrame")

_encoder = msgspec.msgpack.Encoder()


class BrokenStream(Exception):
    """The other side sent what is not a frame."""


def pack(frames: Iterable[Frame]) -> bytearray:
    """Many frames as the bytes of one write."""
    out = bytearray()
    for frame in frames:
        start = len(out)
        out += b"\0\0\0\0"
        _encoder.encode_into(frame, out, start + HEADER)
        length = len(out) - start - HEADER
        if length > MAX_FRAME:
            raise BrokenStream(f"a frame of {length} bytes is over the limit of {MAX_FRAME}")
        out[start : start + HEADER] = length.to_bytes(HEADER, "big")
    return out


class Unpacker(Generic[AnyFrame]):
    """Turns the bytes of a stream back into frames, however they were cut."""

    def __init__(self, decoder: msgspec.msgpack.Decoder[AnyFrame]) -> None:
        self._decoder = decoder
        self._pending = bytearray()

    def feed(self, data: bytes) -> list[AnyFrame]:
        """The frames that are complete now."""
        pending = self._pending
        pending += data
        frames: list[AnyFrame] = []
        position, end = 0, len(pending)
        with memoryview(pending) as view:
            while end - position >= HEADER:
                length = int.from_bytes(view[position : position + HEADER], "big")
                if length > MAX_FRAME:
                    raise BrokenStream(f"a frame claims {length} bytes")
                if end - position - HEADER < length:
                    break
                position += HEADER
                frames.append(self._decode(view[position : position + length]))
                position += length
        if position:
            del pending[:position]
        return frames

    def _decode(self, body: memoryview) -> AnyFrame:
        try:
            return self._decoder.decode(body)
        except msgspec.MsgspecError as error:
            raise BrokenStream(f"a frame cannot be read: {error}") from error


def engine_unpacker() -> "Unpacker[ToEngine]":
    """Reads what a feeder sends."""
    return Unpacker(msgspec.msgpack.Decoder(ToEngine))


def feeder_unpacker() -> "Unpacker[ToFeeder]":
    """Reads what an engine sends."""
    return Unpacker(msgspec.msgpack.Decoder(ToFeeder))


class FeederChannel:
    """The feeder's end, on its event loop."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._unpacker = feeder_unpacker()

    @classmethod
    async def open(cls, end: socket.socket) -> "FeederChannel":
        """Take over one end of a socketpair."""
        reader, writer = await asyncio.open_connection(sock=end, limit=READ_SIZE)
        return cls(reader, writer)

    def send(self, *frames: ToEngine) -> None:
        """Queue frames; they leave in this order, none waits for the event loop's next turn.

        To an engine that hung up nothing is sent: its death is told elsewhere.
        """
        if not self._writer.is_closing():
            self._writer.write(pack(frames))

    async def drain(self) -> None:
        """Wait until the engine has taken most of what was sent."""
        await self._writer.drain()

    async def receive(self) -> list[ToFeeder]:
        """All frames that are there, at least one; empty when the engine is gone."""
        while True:
            try:
                data = await self._reader.read(READ_SIZE)
            except ConnectionError:
                return []
            if not data:
                return []
            frames = self._unpacker.feed(data)
            if frames:
                return frames

    def close(self) -> None:
        """Hang up: the engine ends when it reads this."""
        self._writer.close()


class EngineChannel:
    """The engine's end, for a reader thread and any number of writers."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self._unpacker = engine_unpacker()

    def fileno(self) -> int:
        """For a selector."""
        return self._socket.fileno()

    def receive(self) -> list[ToEngine] | None:
        """Wait for bytes; the frames they complete, perhaps none; None when the feeder is gone."""
        try:
            data = self._socket.recv(READ_SIZE)
        except ConnectionError:
            return None
        return self._unpacker.feed(data) if data else None

    def send(self, frames: Iterable[ToFeeder]) -> None:
        """Write frames in one go; a single caller at a time."""
        self._socket.sendall(pack(frames))
