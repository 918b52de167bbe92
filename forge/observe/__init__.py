"""What a run says while it goes on: progress for a person, numbers for a dashboard, logs for whoever looks later.

    progress.py   one line a phase, bars with rate and time left; the same lines in a terminal and in a job's log
    screen.py     shows these lines in a terminal, the moving one in place
    metrics.py    trackers: to a file, to several others; names of forge's own metrics
    html.py       a page in forge's style, for the report and the data card
    on_ray.py     the tracker behind Ray's metrics
    logs.py       the one set-up of logging, called by jobs

Nothing here decides or stores a result: the ledger does that.
"""
