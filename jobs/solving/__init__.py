"""`forge solve`: the staged agent asked about a work tree, from the command line, over MCP, or by an endpoint's clients.

In: a repository and an issue in words. Out: events while it works, then a patch or the reason why there is none.

    cli.py           forge solve, forge mcp; solve.py asks an endpoint or an agent here, and shows; mcp_server.py the tool
    solver.py        the agent: made in whatever process answers
    adopted.py       the agent's settings that the rounds of a workspace came to
    surroundings.py  the packages that a work tree's tests run with
"""
