"""`forge tasks …`: tasks taken in from public sets, proven, and given out in their formats.

cli.py        the group of commands
public.py     import, export, verify: their options and help
sources.py    what a workspace, a file or a folder holds
importing.py  exporting.py  verifying.py   one command each
tables.py     what they end with
"""
