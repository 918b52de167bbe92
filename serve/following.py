"""What a replica does with new names: adapters first, then the names that mean them."""

from __future__ import annotations

from collections.abc import Sequence

from forge.errors import EndpointError
from forge.store.keys import ApiKey
from serve.front import Front
from serve.names import Names
from serve.seam import Server


async def take_on(server: Server, front: Front, names: Names, keys: Sequence[ApiKey], *, whole: bool = False) -> None:
    """From now on these names and keys hold, their adapters being loaded; a card that they lend has been given back.

    One that cannot be loaded is among the server's problems, and the rest is served. With `whole` it raises `EndpointError` before
    any name holds: so a replica that is one of several does not begin with less than the others have.
    """
    if not names.asleep:
        await server.sleep(False)
        await server.adapters.follow(names.adapters, names.versions)
        if whole and server.adapters.problems:
            told = "; ".join(f"{name}: {why}" for name, why in sorted(server.adapters.problems.items()))
            raise EndpointError(f"this replica would begin without {told}")
    front.follow(names, keys)
    if names.asleep:
        await front.drained()
        await server.sleep(True)
