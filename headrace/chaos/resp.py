"""Redis's wire format, as much of it as is needed to tell one message from the next."""

from __future__ import annotations

from jobs import scripts

#: Followed by as many bytes as their first line says.
_BULK = b"$!="
#: Followed by as many elements, or pairs of elements, as their first line says.
_LISTS = b"*~>"
_PAIRS = b"%|"
_SUBSCRIBING = {"SUBSCRIBE", "PSUBSCRIBE", "SSUBSCRIBE"}
_UNSUBSCRIBING = {"UNSUBSCRIBE", "PUNSUBSCRIBE", "SUNSUBSCRIBE"}
_WITH_A_SECOND_WORD = {"CLIENT", "CLUSTER", "CONFIG", "SCRIPT"}
_MESSAGES = {"MESSAGE", "PMESSAGE", "SMESSAGE"}

SCRIPT_NAMES = {
    value.sha.encode(): value.name
    for value in vars(scripts).values()
    if isinstance(value, scripts.Script)
}

#: What a message that nobody asked for is called.
MESSAGE = "message"


class Messages:
    """Cuts a stream of bytes, RESP2 or RESP3, into whole messages."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._at = 0
        self._owed = 1

    def feed(self, data: bytes) -> list[bytes]:
        """Take what arrived; return the messages that are whole now."""
        self._bytes += data
        whole = []
        while self._step():
            if self._owed == 0:
                whole.append(bytes(self._bytes[: self._at]))
                del self._bytes[: self._at]
                self._at, self._owed = 0, 1
        return whole

    def _step(self) -> bool:
        """Pass one element; False when it has not arrived yet."""
        end = self._bytes.find(b"\r\n", self._at)
        if end < 0:
            return False
        kind, after = self._bytes[self._at], end + 2
        if kind in _BULK or kind in _LISTS or kind in _PAIRS:
            size = max(0, int(self._bytes[self._at + 1 : end]))
            absent = self._bytes[self._at + 1] == ord("-")
            if kind in _BULK and not absent:
                after += size + 2
                if len(self._bytes) < after:
                    return False
            elif kind in _LISTS:
                self._owed += size
            elif kind in _PAIRS:
                self._owed += 2 * size
        # Attributes come before an element and are none themselves.
        self._owed -= kind != ord("|")
        self._at = after
        return True


def words(message: bytes, most: int) -> list[bytes]:
    """Return the first words of a message: of a list of strings, or of a line."""
    if message[0] not in _LISTS:
        return message.split()[:most]
    found: list[bytes] = []
    at = message.index(b"\r\n") + 2
    while len(found) < most and at < len(message) and message[at] in _BULK:
        end = message.index(b"\r\n", at)
        size = int(message[at + 1 : end])
        found.append(message[end + 2 : end + 2 + size])
        at = end + 2 + size + 2
    return found


def name_of(request: bytes) -> str:
    """Return what a request is called: its script's name, or its command in capitals."""
    found = words(request, 2)
    command = found[0].decode().upper()
    if command in ("EVALSHA", "EVALSHA_RO") and len(found) > 1:
        return SCRIPT_NAMES.get(found[1], command)
    if command in _WITH_A_SECOND_WORD and len(found) > 1:
        return f"{command} {found[1].decode().upper()}"
    return command


def replies_to(name: str, request: bytes) -> int:
    """Return how many messages answer a request: one, but one for each channel subscribed to."""
    if name in _SUBSCRIBING or name in _UNSUBSCRIBING:
        return max(1, int(request[1 : request.index(b"\r\n")]) - 1)
    return 1


def unasked(reply: bytes, *, subscribed: bool) -> bool:
    """Whether a message answers no request: a push, or news of a channel."""
    if reply[0] not in b">*" or not (subscribed or reply[0] == ord(">")):
        return False
    first = words(reply, 1)
    kind = first[0].decode(errors="replace").upper() if first else ""
    if reply[0] == ord("*"):
        return kind in _MESSAGES
    return kind not in _SUBSCRIBING | _UNSUBSCRIBING
