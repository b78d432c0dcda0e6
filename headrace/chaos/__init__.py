"""Real processes, a client's own ledger and seeded faults: whether anything is lost, for anyone."""
