"""Trajectories and reports in, numbers that one may believe out: never a mean without its interval or its count.

    intervals.py      Wilson and bootstrap intervals
    paired.py         the exact McNemar test on the same tasks
    pass_at_k.py      the unbiased estimator
    stage_scores.py   how good each stage was on its own, against the gold change
    steps.py          one evaluated step of the loop as a `StepReport`
    best_of_n.py      several answers a task and a judge: its worth, and its calibration
    cost.py           tokens and seconds for each solved task
    summary.py        `RunSummary`, everything that a report says; headline.py  the same in one sentence
    report.py         the summary as report.json and as one self-contained page
    ablation.py       ways to train compared: shares, corrected tests, a verdict; levers.py  weights and settings compared
    stories.py        rollouts worth showing, chosen and told
    pages/            HTML: page.py the report's page and a module for each section, ablation.py the ablation's, their drawings in SVG
    suites/           public coding suites: rows, problems, exams, scores

Everything here is a pure function of records: no model, no sandbox, no ledger, no clock. Only `suites/examiner.py` asks a model
and opens boxes, through seams that it is given.
"""
