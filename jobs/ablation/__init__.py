"""`forge ablate`: its options, and the arms that its job (`jobs/ablate.py`) trains and evaluates.

In: the rows and tasks of a finished workspace. Out: adapters and outcomes in a workspace of the ablation's own, beside it.
"""
