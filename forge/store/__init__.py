"""The workspace: records in, files and ledger rows out, and the same records back, exactly.

    workspace.py   the folder's layout, its lock, its schema version, atomic writes
    parquet.py     records to Parquet and back; schemas derive from the pydantic records
    ledger.py      phases, rounds, rollouts, verdicts, promotions, in SQLite; the driver alone writes it
    adapters.py    immutable adapter versions with manifests, and which of them are promoted
    promotions.py  going back to what was promoted before, and which versions nothing needs any more
    trees.py       content-addressed snapshots of repository trees

Whatever is written is written under a temporary name, synced and renamed, so a kill at any moment leaves
the old state or the new one. It never decides anything: what to keep is the business of the other rooms.
"""
