"""`forge tasks …`: repositories in, workspaces of proven tasks out; each command is a Ray job. Never trains or serves."""
