"""A PagerDuty simulator: it accepts, refuses and throttles events as the Events API v2 does, and fails on demand."""
