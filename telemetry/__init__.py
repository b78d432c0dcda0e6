"""Logs, metrics, probes and the one table of settings. Imports nothing of ours."""
