"""The Python client: HTTP only, so that a program needs nothing of the server."""
