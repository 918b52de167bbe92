from __future__ import annotations

from pathlib import Path

import pytest

from forge.errors import HistoryError
from forge.mining.clones import folder_of, is_address, name_of
from forge.mining.history import GitHistory
from tests.small_repos import practice


@pytest.mark.parametrize(
    ("repo", "address", "name"),
    [
        ("https://example.org/pallets/click.git", True, "pallets/click"),
        ("https://example.org/pallets/click/", True, "pallets/click"),
        ("git@example.org:pallets/click.git", True, "pallets/click"),
        ("ssh://git@example.org/pallets/click", True, "pallets/click"),
        ("/src/click", False, "click"),
        ("/src/click.git", False, "click"),
    ],
)
def test_addresses_are_told_from_folders_and_named(repo: str, address: bool, name: str) -> None:
    assert (is_address(repo), name_of(repo)) == (address, name)


def test_an_address_is_cloned_once(tmp_path: Path) -> None:
    made = practice(tmp_path / "repo").path
    folder = folder_of(f"file://{made}", tmp_path / "clones")
    history, source = GitHistory("x", folder), GitHistory("x", made)
    assert history.head == source.head
    history.close()
    source.close()
    stamp = folder.stat().st_mtime_ns
    assert folder_of(f"file://{made}", tmp_path / "clones").stat().st_mtime_ns == stamp


def test_what_cannot_be_cloned_is_one_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(HistoryError, match="cannot be cloned"):
        folder_of(f"file://{tmp_path}/nowhere", tmp_path / "clones")
    assert list((tmp_path / "clones").iterdir()) == []


def test_an_address_cannot_start_programs(tmp_path: Path) -> None:
    assert not is_address(f"ext::touch {tmp_path}/sprung")
