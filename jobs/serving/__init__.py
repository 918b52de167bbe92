"""What stands between a workspace and the applications of `serve/`: for `forge serve` (`jobs/endpoint.py`) and the loop alike.

In: bases, and adapters of a store. Out: what an endpoint is told to load, and whether it answers as training saw.

    cli.py          forge serve, forge keys
    catalogue.py    which base a version belongs to, which folder each id is loaded from
    canary.py       does the endpoint answer with the weights that training saved?
    llama_files.py  bases and adapters as GGUF files, each made once
"""
