"""The client's side of the model server: adapters → names that stages can call.

In: URLs of the bases, model ids such as `generation@r2-3f9c`, token ids. Out: samples, token-exact, and whether an
adapter answers as the training side says it should. Never: starts a server, and never imports ray, vLLM or torch.
"""
