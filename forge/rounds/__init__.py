"""Graded trajectories in; the next round's training rows and the decision to promote out.

Pure functions of records. Never runs a model, a box or a trainer: `jobs/improve.py` does what is decided here.
"""
