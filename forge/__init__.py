"""forge: a repository's git history in, a staged coding agent that gets better at that repository out.

Contracts are in `forge.records`, `forge.seams`, `forge.errors` and `forge.config`. The folders below are rooms:
each says in its `__init__` what goes in, what comes out and what it never does. Nothing here starts anything
on import; `jobs/` wires the rooms together.
"""

__version__ = "0.1.0"
