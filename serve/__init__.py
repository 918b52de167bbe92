"""vLLM with many LoRA adapters as a Ray Serve application.

In: the configuration, the folder of each base, the adapter folders by model id. Out: an HTTP address that speaks
the OpenAI protocol (`/v1/...`) and forge's token-exact one (`/forge/sample`), where `model` picks the adapter.

    app.py        what is deployed on a running Ray, and taken over while it runs
    replica.py    one engine behind its front: following.py adapters before the names that mean them, scaling.py how many replicas
    front.py      what stands before the engine: names.py which model is meant, gate.py and limits.py who may ask and how much,
                  elsewhere.py another base's model; counted.py and token_counts.py what grafana.json shows
    engine.py     how vLLM is started, quantised.py from which weights; vllm_server.py, inline_engine.py it in a replica's process,
                  cpu_worker.py and lora_rows.py its LoRA on CPUs
    llama/        the same through llama.cpp, behind seam.py; pick.py which of the two a machine has
    solve_app.py  the agent over HTTP, solve_chat.py as a chat model: questions.py, solves.py what was asked and said, checkouts.py trees

Never: knows about stages, rounds or rewards, and never reloads a name with other weights.
"""
