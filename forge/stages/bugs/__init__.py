"""Plausible bugs: small edits of a source that tasks plant and review learns to refuse."""
