"""`python -P -m worker.engine --fd N`: started by the feeder, N is its end of a socketpair."""

import argparse
import os
import socket

from worker.engine.child import leave, settle_in
from worker.engine.process import serve


def main() -> None:
    """Serve one model on one device until the feeder says stop or is gone."""
    parser = argparse.ArgumentParser(prog="python -m worker.engine")
    parser.add_argument("--fd", type=int, required=True)
    descriptor = parser.parse_args().fd
    # A process that the author's code starts must not keep the line open after our end.
    os.set_inheritable(descriptor, False)
    settle_in()
    leave(serve(socket.socket(fileno=descriptor)))


if __name__ == "__main__":
    main()
