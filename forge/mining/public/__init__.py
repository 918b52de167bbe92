"""Public sets of exercises and lists of repositories: rows of the hub or of local files in, `Instruct` records out.

    instruct.py   one exercise, whatever its columns were called
    columns.py    reading fields of rows that somebody else wrote
    sets.py       the sets that are known: where they are, their licence, how a row becomes an exercise
    load.py       files, folders and the hub → exercises, every bad row counted
    mix.py        several sets in shares, the best or a random part of each, the same every time
    bigquery.py   SQL over GitHub's public data, and its answers as repositories to mine

It downloads nothing that was not asked for by name, and never runs code of a set.
"""
