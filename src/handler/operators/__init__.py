"""The second path: what operators have to know of alerts that do not reach PagerDuty, with its content, over SNS.

Reported once each: a critical alert that PagerDuty has not accepted for two minutes, and every dead letter. At most one
message a minute, however many alerts it stands for, and one more when they are accepted.

`reports` collects what to report: `endings` says whether an alert is late, and how it ended. `entries` makes lines of
alerts, and `letters` of dead letters. `state` decides what is due, `message` writes its text, and `reporter` reads and
writes the state and publishes.
"""
