"""`python -P -m worker.engine --fd N --stacks M`: started by the feeder.

N is its end of a socketpair, M where the stacks of its threads are written: on SIGUSR1, and when
native code crashes.
"""

import argparse
import os
import socket

from worker.engine.child import leave, settle_in
from worker.engine.process import serve


def main() -> None:
    """Serve one model on one device until the feeder says stop or is gone."""
    parser = argparse.ArgumentParser(prog="python -m worker.engine")
    parser.add_argument("--fd", type=int, required=True)
    parser.add_argument("--stacks", type=int, default=2)
    given = parser.parse_args()
    # A process that the author's code starts must not keep the line open after our end.
    os.set_inheritable(given.fd, False)
    settle_in(given.stacks)
    leave(serve(socket.socket(fileno=given.fd)))


if __name__ == "__main__":
    main()
