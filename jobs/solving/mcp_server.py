"""`forge mcp`: the served agent as a tool of the Model Context Protocol, over standard input and output."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from mcp.server import MCPServer
from mcp.server.mcpserver import Context

from forge.errors import ForgeError
from jobs.solving.solve import Ask, put


def server_of(ask: Ask) -> MCPServer:
    """An MCP server with one tool, `solve`, that asks by `ask`."""
    server = MCPServer("forge", instructions="Ask forge's agent to solve an issue in a repository on this machine; it answers with a diff.")

    @server.tool()
    async def solve(
        repository: str, issue: str, context: Context, samples: int = 1, apply: bool = False, environment: Literal["none", "auto"] = "none"
    ) -> str:
        """A unified diff that solves `issue` in the git work tree at the absolute path `repository`, and how sure review is of it.

        `samples` answers are tried and the best is taken; `apply` puts the diff into the work tree. With `environment` auto the
        repository's tests run under a Python with the packages that it asks for, which the endpoint must allow.
        """
        repo, said = Path(repository), 0
        question = {"issue": issue, "samples": max(1, min(16, samples)), "seconds": 300.0, "test": "", "environment": environment}
        try:
            async for event in ask(repo, question):
                if event["kind"] == "done":
                    return _told(repo, dict(event), apply=apply)
                said += 1
                await context.report_progress(said, message=f"{event.get('stage') or event['kind']}: {event.get('text', '')}")
        except ForgeError as error:
            return f"no patch: {error}"
        return "no patch: the agent ended without a result"

    return server


def _told(repo: Path, result: dict[str, object], *, apply: bool) -> str:
    patch = str(result.get("patch") or "")
    if not patch:
        return f"no patch: {result.get('reason') or result.get('status')}"
    if apply:
        put(repo, patch)
    score = result.get("score")
    done = f"\napplied to {repo}" if apply else ""
    return f"{patch.rstrip()}\n\nreview: {float(str(score or 0)):.0%}{done}"
