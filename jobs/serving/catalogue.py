"""A store's adapters as an endpoint knows them: which base each belongs to, and which folder each id is loaded from."""

from __future__ import annotations

from collections.abc import Collection

from forge.config import ForgeConfig
from forge.records import AdapterRef
from forge.store.adapters import FolderAdapterStore
from serve.app import Catalogue
from serve.names import Version


def loaded(config: ForgeConfig, refs: Collection[AdapterRef]) -> dict[str, dict[str, str]]:
    """Adapter folders by exact id, for each base."""
    by_base: dict[str, dict[str, str]] = {name: {} for name in config.bases}
    for ref in refs:
        by_base[base_of(config, ref)][ref.model_id] = ref.path
    return by_base


def catalogue_of(config: ForgeConfig, adapters: FolderAdapterStore) -> Catalogue:
    """Every version of a store that belongs to one of the configuration's bases."""
    versions = {
        ref.model_id: Version(stage=ref.stage, base=base_of(config, ref), path=ref.path, round=ref.round, metrics=ref.metrics)
        for ref in adapters.list()
        if _known(config, ref)
    }
    promoted = {stage: ref.model_id for stage, ref in adapters.promoted().items() if ref.model_id in versions}
    return Catalogue(versions=versions, promoted=promoted)


def of_other_bases(config: ForgeConfig, adapters: FolderAdapterStore) -> tuple[AdapterRef, ...]:
    """The promoted versions that none of the configuration's bases can carry: a base answers for their stages."""
    return tuple(ref for ref in adapters.promoted().values() if not _known(config, ref))


def base_of(config: ForgeConfig, ref: AdapterRef) -> str:
    """The name of the base that an adapter belongs to."""
    own = config.base_of_adapters().get(ref.stage)
    if own is not None and config.bases[own].model == ref.base:
        return own
    return next(name for name, base in config.bases.items() if base.model == ref.base)


def _known(config: ForgeConfig, ref: AdapterRef) -> bool:
    return ref.base in {base.model for base in config.bases.values()}
