"""Compares CloudWatch's alarms with the table's records, every five minutes, apart from the path of a page.

An alarm in ALARM without a record pages: its notification was lost, the stack is newer than the alarm, or a mute window
ended. An open incident whose alarm is OK or gone is resolved: the alarm has no OK action, or its notification was lost.

`comparison` runs `agreement` within an invocation. `agreement` reads alarms through `cloudwatch`, asks `wiring` which
of them are this stack's and `routing` whether a target takes them, reads their records through `records`, and lets
`decisions` decide, which are pure. What it finds it returns as messages in the shape of CloudWatch's own notifications
(`alarm`), to be published like any other: the same fingerprint, dedup key and state timestamp, so that a notification
that comes after all is a duplicate.
"""
