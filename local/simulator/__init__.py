"""A PagerDuty of our own: it takes in, refuses and throttles events as the Events API v2 does, and fails on demand."""
