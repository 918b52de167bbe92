"""`forge evaluate`: rows, an endpoint and boxes put together, one module a kind of suite, and the table that it ends with.

In: files or the hub, a model's name. Out: `samples.jsonl`, the file that the published harness reads, `result.json`, for each suite.
"""
