"""One measurement per module; each has `measure(bench) -> list[Row]`."""
