"""What a job is and how it travels through Redis."""
