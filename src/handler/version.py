"""The version, as it is in the log, in the health check's answer and in the stack's description."""

VERSION = "0.1.0"
