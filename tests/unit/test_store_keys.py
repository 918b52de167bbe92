"""API keys: shown once, kept as hashes in a file for its owner alone."""

import stat
from pathlib import Path

import pytest

from forge.errors import ConfigError, StoreError
from forge.store import keys
from forge.store.keys import KeyFile


def test_a_key_is_found_by_itself_alone_and_is_nowhere_in_the_file(tmp_path: Path) -> None:
    file = KeyFile(tmp_path / "deep" / "keys.json")
    assert file.read() == ()
    secret, other = file.add("ci", ["infer", "solve"], 60), file.add("boss", ["admin"])
    assert len(secret) > 40 and secret != other
    found = keys.find(file.read(), secret)
    assert found is not None and (found.name, found.per_minute) == ("ci", 60)
    assert [found.allows(scope) for scope in keys.SCOPES] == [True, True, False]
    assert all(keys.find(file.read(), other).allows(scope) for scope in keys.SCOPES)  # type: ignore[union-attr]
    assert keys.find(file.read(), secret + "x") is keys.find(file.read(), "") is keys.find((), secret) is None
    text = file.path.read_text()
    assert secret not in text and secret.removeprefix(keys.PREFIX) not in text
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600


def test_a_revoked_key_opens_nothing_and_its_name_is_free_again(tmp_path: Path) -> None:
    file = KeyFile(tmp_path / "keys.json")
    secret = file.add("ci", ["infer"])
    with pytest.raises(ConfigError, match="there is a key ci already"):
        file.add("ci", ["infer"])
    file.revoke("ci")
    assert keys.find(file.read(), secret) is None
    assert file.add("ci", ["infer"]) != secret
    with pytest.raises(ConfigError, match="there is no key boss; there are: ci"):
        file.revoke("boss")


@pytest.mark.parametrize("name", ["", "A", "a b", "../x", "x" * 64])
def test_a_name_is_a_plain_word(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is no name for a key"):
        KeyFile(tmp_path / "keys.json").add(name, ["infer"])
    assert not (tmp_path / "keys.json").exists()


@pytest.mark.parametrize("content", ["{", "{}x", '[{"name": 1}]', "3"])
def test_a_file_of_something_else_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_text(content)
    with pytest.raises(StoreError, match="is no file of API keys"):
        KeyFile(tmp_path / "keys.json").read()
