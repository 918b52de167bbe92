"""Trajectories and reports in, numbers that one may believe out: never a mean without its interval or its count.

    intervals.py      Wilson and bootstrap intervals
    paired.py         the exact McNemar test on the same tasks
    pass_at_k.py      the unbiased estimator
    stage_scores.py   how good each stage was on its own, against the gold change
    steps.py          one evaluated step of the loop as a `StepReport`
    summary.py        `RunSummary`, everything that a report says
    report.py         the summary as report.json and as one self-contained page
    ablation.py       ways to train compared: shares, corrected tests, a verdict; ablation_page.py its table and page
    plots.py  page.css  the page's drawings and looks

Everything here is a pure function of records: no model, no sandbox, no ledger, no clock.
"""
