"""One alert to one target: claim, limit, send, settle, wait."""
