"""Why Headrace does not start."""


class StartRefused(Exception):
    """Something on this machine must change first; the message says what, in one sentence."""
