"""Git repositories in, cold-start examples of all five stages out, every drop counted by reason.

    git.py        how git is called: hardened, and its objects through one `cat-file --batch`
    history.py    two phases: one metadata pass over everything, contents of survivors only; pydriller_history.py  the reference
    surveying.py  what a repository is; shard.py, units.py  the units of work; clones.py  repositories given by address
    reading.py    one shard becomes rows (row.py); quality/  the filters, each of which says why it drops a row
    functions.py  which functions a commit changes: python_functions.py by Python's parser, tree_functions.py by tree-sitter
    compare.py    what only the whole set can tell, from sketches (sketch.py): duplicates, outliers, sides
    finishing.py  what a teacher adds (enrich/), and what the stages learn (teaching.py)
    changes.py    a row becomes a `Change`: statement, touched symbols, hunks, wrong edits; negatives.py, symbols.py  what it is told from
    card.py       what is in a mined set, as a page (card_page.py), counts.py where every commit went; folder.py  where it lies
    on_ray.py     repositories × commit ranges on Ray Data, Parquet files with lineage
    align/        rows that a base makes and proves for itself, seeded by functions of rows
    formats/      rows, examples and exercises as the files that trainers and libraries read
    public/       exercises of public sets, mixed in shares; repositories from GitHub's data on BigQuery

It never runs repository code, never writes into a repository, and never decides what is trained on.
"""
