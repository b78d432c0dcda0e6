"""Headrace from outside: the Python client, and the command line around it."""
