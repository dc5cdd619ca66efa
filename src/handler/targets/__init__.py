"""Who gets an alert: targets, their matchers, and the secrets they are read from."""
