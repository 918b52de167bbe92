"""Public sets of tasks: their rows and folders in, `Instance` records out; instances and our own tasks out as their formats.

    sets.py         the sets that are known, and which one a row is of: one file a set
      swe_bench.py  SWE-bench 5, SWE-bench up to 4, SWE-Gym      swe_smith.py   SWE-smith, whose patch is the bug
      r2e_gym.py    R2E-Gym, judged by a map of statuses         swe_rebench.py SWE-rebench V2
      harbor.py     task folders
    row.py          fields of a row, and what a record leaves over of it
    scripts.py      the grading scripts of sets that ship none, and of our tasks
    load.py         files and folders → instances, every bad row counted; hub.py  the same from the hub
    save.py         instances → files of their own set
    commit.py       a tree as a git repository of one orphan commit
    export.py       a task → a SWE-bench 5 instance and the image it needs; harbor_export.py  → a Harbor folder
    predictions.py  trajectories → predictions in swebench's format
    verified.py     what gold and doing nothing showed of one task, and the table of it all

It starts no container and runs no code of a set: `sandboxes.harness` does.
"""
