"""`python -m api`."""

import os
import signal
import sys


def run() -> int:
    """Serve until told to stop; the exit code."""
    # Before the imports, which take half a second: nothing is served yet. Without a handler the
    # signal would end it in disorder, and the first process of a container would not even get it.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os._exit(0))
    from api.main import main  # noqa: PLC0415

    return main()


if __name__ == "__main__":
    sys.exit(run())
