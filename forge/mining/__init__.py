"""Git repositories in, cold-start examples of all five stages out, every drop counted by reason.

    git.py        how git is called: hardened, and its objects through one `cat-file --batch`
    history.py    two phases: one metadata pass over everything, contents of survivors only
    filters.py    which commits survive on metadata alone
    changes.py    a surviving commit becomes a `Change`: statement, touched symbols, hunks, negatives, a wrong edit
    negatives.py  symbols that look as if they were meant, and edits that stop half-way
    examples.py   changes become examples; one range of one history from end to end
    on_ray.py     repositories × commit ranges on Ray Data, Parquet files with lineage
    align/        rows that a base makes and proves for itself, seeded by functions of rows
    formats/      rows, examples and exercises as the files that trainers and libraries read
    public/       exercises of public sets, mixed in shares; repositories from GitHub's data on BigQuery

It never runs repository code, never writes into a repository, and never decides what is trained on.
"""
