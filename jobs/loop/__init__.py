"""What `forge improve` does on Ray: the hands of `forge.rounds.machine`, which decides.

In: a configuration and a workspace, which may hold a run that was killed. Out: the workspace, further on.

    phases.py    the phases in order; prepare.py those before the rounds, rollouts.py what is rolled out in them
    serving.py   the endpoint of a run: started ahead, given the adapters that each step wants
    context.py   what all phases share
    outlook.py   what the next round would do, from the ledger alone
    summary.py   what a finished run says: the record of the report, and the table
"""
