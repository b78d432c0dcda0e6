"""`python -P -m worker DIR...`"""

import os
import signal
import sys


def run() -> int:
    """Serve until told to stop; the exit code."""
    # Before the imports, which take a second: there is nothing to drain yet. Without a handler the
    # signal would end it in disorder, and the first process of a container would not even get it.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os._exit(0))
    from worker.main import main  # noqa: PLC0415

    return main()


sys.exit(run())
