"""`forge tasks …`: repositories in, proven tasks out. Each command runs alone or as a Ray job; the loop has its own phase."""
