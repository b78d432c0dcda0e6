"""Measurements of Headrace beside its peers, both sides taken in the same run."""
