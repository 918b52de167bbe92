"""Small working implementations of the seams that need nothing outside: shipped, documented, and held to the same contract suites.

In: what a seam takes. Out: what it promises, kept in memory or in a folder given. Never a canned answer that a run could take for a result.
"""
