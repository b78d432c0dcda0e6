"""`python -P -m webhooks [--only sender|retries|cron]`"""

import os
import signal
import sys


def run() -> int:
    """Serve until told to stop; the exit code."""
    # Before the imports, which take a while: there is nothing to drain yet. Without a handler the
    # first process of a container would not even get the signal.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os._exit(0))
    from webhooks.main import main  # noqa: PLC0415

    return main()


sys.exit(run())
