"""Which commits are worth learning from: filters, each of which says why it drops a row.

In: what is known of a commit at that moment (metadata, contents, the whole set's sketches) and the configuration. Out: a reason,
empty for what passes. Pure but for the data that comes with a library; nothing here is looked up on the network but benchmarks
that are asked for by their hub names.
"""
