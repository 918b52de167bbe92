"""Endpoint and tasks in, trajectories out: the staged agent at work, each rollout in a box of its own.

Every turn keeps its prompt ids, completion ids and logprobs. Outcomes are typed; infrastructure errors are retried
and masked, never scored. Never trains, never selects, never writes to the workspace.
"""
