from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from forge.exam.split import Split, side_of

PATHS = st.sampled_from([f"pkg/m{number}.py" for number in range(12)])


@given(st.lists(st.lists(PATHS, min_size=1, max_size=4), max_size=12))
def test_files_that_were_joined_are_always_on_one_side(groups: list[list[str]]) -> None:
    split = Split("repo", 0.4, max_group=6)
    joined = [group for group in groups if split.join(group)]
    for group in joined:
        assert len({split.side(path) for path in group}) == 1
    assert not set(split.on_side("train")) & set(split.on_side("heldout"))


@given(st.lists(st.lists(PATHS, min_size=2, max_size=2), max_size=20))
def test_no_group_grows_beyond_the_limit(pairs: list[list[str]]) -> None:
    split = Split("repo", 0.4, max_group=3)
    for pair in pairs:
        split.join(pair)
    groups: dict[str, set[str]] = {}
    for path in {path for pair in pairs for path in pair}:
        groups.setdefault(split._root(path), set()).add(path)
    assert all(len(group) <= 3 for group in groups.values())


def test_about_the_asked_share_is_held_out_and_it_is_the_same_every_time() -> None:
    sides = [side_of("repo", f"pkg/module_{number}.py", 0.4) for number in range(2000)]
    assert 0.36 < sides.count("heldout") / 2000 < 0.44
    assert sides == [side_of("repo", f"pkg/module_{number}.py", 0.4) for number in range(2000)]


def test_everything_in_a_transfer_repository_is_transfer() -> None:
    split = Split("far", 0.4, transfer=True)
    split.join(["a.py", "b.py"])
    assert {split.side("a.py"), split.side("c.py")} == {"transfer"}
    assert split.on_side("heldout") == []
