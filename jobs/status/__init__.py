"""`forge status`: what a run is doing, whether it gets better, what it has cost, what comes next.

In: a workspace, which a run may be writing. Out: a view on a terminal, in place or once, or JSON. Nothing is ever written there, no
lock is taken, and no trajectory is read, but where the next plan depends on the pairs in them.

    facts.py   what the workspace says at one moment: the ledger, the configuration, who holds it
    view.py    facts → `Status`, in words and figures: pure
    screen.py  `Status` → the terminal
    cli.py     the command
"""
