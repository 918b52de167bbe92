"""What LLaMA-Factory and Axolotl want beside the data: a description of each file that says how it is to be read.

Sources: `DatasetAttr` in LLaMA-Factory's `data/parser.py` with the converter of its `sharegpt` formatting, which takes the
roles as they are, where that of `openai` adds a sentence about thinking to every system message; `SFTDataset` and
`DPODataset` in Axolotl's `utils/schemas/datasets.py` with its `chat_template` prompt strategies.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from forge.mining.formats.chat import PREFERENCES
from forge.mining.formats.folder import Part

_TAGS = {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant", "system_tag": "system"}


def dataset_info(parts: Sequence[Part]) -> Mapping[str, str]:
    """`dataset_info.json` for `dataset_dir`: `forge`, `forge_review` and so on, with `_test` behind what is held out."""
    entries: dict[str, Any] = {}
    for part in parts:
        columns = {"messages": "messages"}
        entry: dict[str, Any] = {"file_name": part.path, "formatting": "sharegpt", "tags": _TAGS}
        if part.part == PREFERENCES:
            entry["ranking"] = True
            columns |= {"chosen": "chosen", "rejected": "rejected"}
        name = "_".join(["forge", *([part.part] if part.part else []), *(["test"] if part.heldout else [])])
        entries[name] = entry | {"columns": columns}
    return {"dataset_info.json": json.dumps(entries, indent=2) + "\n"}


def axolotl_configs(parts: Sequence[Part]) -> Mapping[str, str]:
    """One YAML for each part, `axolotl.yaml` or `axolotl-<part>.yaml`, to which a base model and a schedule are to be added.

    Paths are relative: Axolotl is to be started inside the folder.
    """
    return {
        f"axolotl-{name}.yaml" if name else "axolotl.yaml": yaml.safe_dump(_axolotl([p for p in parts if p.part == name]), sort_keys=False)
        for name in dict.fromkeys(part.part for part in parts)
    }


def _axolotl(parts: Sequence[Part]) -> dict[str, Any]:
    """The data keys of one Axolotl run."""
    pairs = parts[0].part == PREFERENCES
    config: dict[str, Any] = {"rl": "dpo"} if pairs else {"train_on_inputs": False}
    for key, heldout in (("datasets", False), ("test_datasets", True)):
        entries = [_entry(part, pairs) for part in parts if part.heldout is heldout]
        if entries:
            config[key] = entries
    return config | {"chat_template": "tokenizer_default"}


def _entry(part: Part, pairs: bool) -> dict[str, Any]:
    # Axolotl reads a path that is there as a file; the split of a single file is always train.
    entry: dict[str, Any] = {"path": part.path, "split": "train", "field_messages": "messages"}
    if pairs:
        return entry | {"type": "chat_template.default", "field_chosen": "chosen", "field_rejected": "rejected"}
    return entry | {"ds_type": "json", "type": "chat_template", "roles_to_train": ["assistant"], "train_on_eos": "turn"}
