"""`forge mine`: its options, and which repositories its job (`jobs/mine.py`) reads.

In: folders, addresses, or a list of them. Out: names and places; mining itself is `forge.mining`.
"""
