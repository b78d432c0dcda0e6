"""Tells receivers of the events of jobs: sender, retries, and the cron that repairs them."""
