"""The rows of a public set from the Hugging Face hub, where there is a network."""

from __future__ import annotations

from collections.abc import Iterator

import datasets
import huggingface_hub

from forge.errors import EnvironmentLackError
from forge.tasks.public.row import Row

_ANSWER_S = 10.0
WHOLE = ("test", "train")
"""The splits that hold a set as a whole, in the order in which one is taken when none is named."""


def hub_rows(name: str, split: str = "", config: str | None = None) -> Iterator[Row]:
    """Rows of a set such as `SWE-Gym/SWE-Gym`, or of one of its configs.

    Raises `EnvironmentLackError` when the hub cannot be reached or has no such set.
    """
    try:
        # Asked first because `datasets` tries for half a minute before it gives up.
        huggingface_hub.HfApi().dataset_info(name, timeout=_ANSWER_S)
        if not split:
            there = datasets.get_dataset_split_names(name, config)
            split = next((usual for usual in WHOLE if usual in there), there[0])
        loaded = datasets.load_dataset(name, config, split=split)
    except Exception as error:  # the hub's client raises whatever its transport does
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise EnvironmentLackError(
            f"cannot load {name} from the hub ({first}); fetch its Parquet files where there is a network, and import those"
        ) from error
    yield from loaded
