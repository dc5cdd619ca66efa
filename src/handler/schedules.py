"""The inputs of the template's schedules, as the function gets them. Each schedule's input is in the template too."""

HEALTH_CHECK = {"health_check": True}
"""Every five minutes: run the health check, and compare CloudWatch's alarms with the records."""
DRAIN = {"drain": True}
"""Every minute: report to operators, and send what waits."""
