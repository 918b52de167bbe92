"""The agent program inside a sandbox: standard library and pytest only, the same for every provider.

In: frames on a socket (`wire`). Out: frames with results. It runs as `python -m inside` with only this folder
mounted, so nothing here imports forge.

    zygote ──clone──► box (PID 1 of its own namespaces) ──fork──► command or test run
"""
