"""The commands of adapter versions: list, show, compare, promote, go back, clear away, export.

In: the workspace of a run. Out: tables for a person, a changed ledger, a folder for another program. Commands that change
something hold the workspace's lock, so they wait for no run and disturb none: a workspace in use is refused.
"""
