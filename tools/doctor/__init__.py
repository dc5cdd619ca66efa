"""`make doctor`: finds what would keep an alarm from paging, with the command that fixes it. Changes nothing.

`gather` reads the account, a hundred alarms at a time; the checks are pure functions of the `facts` that it read. An
alarm concerns this stack if an action of its leads here, or if it reaches nobody at all. One that reaches somebody else
is none of its business: it is counted in a note. So is what the caller may not read, or this region does not know.
"""
