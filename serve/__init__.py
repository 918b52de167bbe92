"""vLLM with many LoRA adapters as a Ray Serve application.

In: the configuration, the folder of each base, the adapter folders by model id. Out: an HTTP address that speaks
the OpenAI protocol (`/v1/...`) and forge's token-exact one (`/forge/sample`), where `model` picks the adapter.
Never: knows about stages, rounds or rewards, and never reloads a name with other weights.
"""
