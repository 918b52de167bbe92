"""llama.cpp's own server behind the same front, for machines without vLLM: small cards, and processors alone.

In: a base and adapters as GGUF files (`Material`, made outside), and requests in the words of vLLM's API. Out: the same answers as
vLLM gives. `llama-server` is a child process that is reached through a socket in a private folder, and is given token ids only: prompts
are rendered and split here, by the base's own template and tokenizer.

    material.py   what is needed of a base: files and tokenizer (the seam), numbers of its configuration
    command.py    the command line of llama-server
    tied.py       a program that ends with the process that started it
    child.py      one llama-server, from its start to its end
    turns.py      adapters take turns, as llama.cpp's batches hold one adapter only
    pool.py       the llama-server that answers now, and the next one beside it when an adapter is added
    asked.py      a request as llama-server wants it; what cannot be given is refused
    sampled.py    one completion, token-exact: ids, logprobs of each, and those of choices
    told.py       completions in the shapes of OpenAI's API
    tools.py      tool calls in Qwen's (Hermes') form
    routes.py     the app
    server.py     the parts put together
"""
