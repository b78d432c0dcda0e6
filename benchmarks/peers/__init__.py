"""What Headrace is measured against: plain routes, a task queue and a bare loop."""
