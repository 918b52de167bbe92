"""Histories in, proven executable tasks out: every one fails without its fix and passes with it, repeatedly.

    candidate.py  what a task is before it is proven
    suite.py      which tests belong to a source file; test functions cut out of, or read from, a test file
    derive.py     commits that change source and tests (R2E's SWE-GEN way)
    inject.py     bugs planted into functions of the head (SWE-smith's way)
    split.py      train or held-out by a hash of the files that are touched together: no file on both sides
    statement.py  what the agent is told, never quoting the fix
    prove.py      both states run in boxes; exact ids that fail and then pass, or pass always; flaky ones dropped
    plan.py       the units of work in the order in which they count: repositories, modules and functions take turns
    journal.py    what an earlier run finished
    on_ray.py     all of it on Ray actors, until the targets are met
    public/       tasks of public sets in, our own out in their formats

It never grades an agent's patch and never reads a repository but through the `History` seam.
"""
