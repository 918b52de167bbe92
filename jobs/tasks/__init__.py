"""`forge tasks …`: tasks made from repositories, taken in from public sets, proven, and given out in their formats.

    cli.py        the group of commands
    derive.py  inject.py           Ray jobs that make tasks; derive_cli.py and inject_cli.py hold their options and help
    means.py  defaults.py          what such a job works with, how it is configured
    public.py     import, export, verify: their options and help
    sources.py    what a workspace, a file or a folder holds
    importing.py  exporting.py  verifying.py   one command each
    tables.py     what they end with

It never trains or serves.
"""
