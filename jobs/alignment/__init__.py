"""What `forge align` is made of beside its job: workers that ask and run, what is read first, and what a loop may take of the result.

Nothing is decided here; that is `forge.mining.align`.
"""
