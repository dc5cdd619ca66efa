"""The second path: what operators have to know of alerts that do not reach PagerDuty, with its content, over SNS.

Reported once each: a critical alert that PagerDuty has not accepted for two minutes, and every dead letter. At most one
message a minute, however many alerts it stands for, and one more when they are accepted.

`entries` turns alerts into lines, `state` decides what is published when, `message` writes it, `reporter` reads and
writes.
"""
