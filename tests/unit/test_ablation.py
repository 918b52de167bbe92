"""What an ablation may say: numbers worked by hand, a verdict that fires and one that must not."""

from __future__ import annotations

from pathlib import Path

import pytest

from forge.evals import ablation
from forge.evals.ablation import BASE, COMBINED, MATCHED, PER_STAGE, TUNED, Ablation, Arm, Run, Share, Trained
from forge.evals.pages.ablation import page, table, write
from forge.records import Interval, StepReport

TRAINED = Trained(
    rows=1640,
    distinct_rows=1300,
    tokens=330_000,
    answer_tokens=60_000,
    steps=305,
    parameters=250_000,
    ranks={"combined": 32},
    learning_rates={"combined": 2e-3},
    seconds=61.0,
)


def solved(tasks: int, wins: range | list[int]) -> dict[str, bool]:
    return {f"t{number:03}": number in wins for number in range(tasks)}


def run(seed: int, wins: int, tasks: int, trained: Trained | None) -> Run:
    step = StepReport(
        name="x", round=0, pass_at_1=wins / tasks, ci95=Interval(low=0, high=1), solved=wins, tasks=tasks, promoted=False,
        stage_scores={"review_auc": 0.75},
    )  # fmt: skip
    return Run(seed=seed, heldout=step, trained=trained)


def made(results: dict[str, list[dict[str, bool]]]) -> Ablation:
    """The ablation of these held-out results."""
    arms = tuple(
        Arm(
            name=name,
            about=name,
            runs=tuple(run(seed, sum(one.values()), len(one), None if name == BASE else TRAINED) for seed, one in enumerate(found)),
            heldout=ablation.share(found),
        )
        for name, found in results.items()
    )
    compared = ablation.contrasts(results, "heldout", seed=0)
    return Ablation(
        name="tiny",
        rows_of="rft-2",
        base="nano",
        seeds=tuple(range(max(map(len, results.values())))),
        arms=arms,
        contrasts=tuple(compared),
        verdict=ablation.verdict(arms, compared),
        tuned={COMBINED: "learning rate 0.002"},
    )


def test_holm_multiplies_by_how_many_are_left_and_never_falls() -> None:
    assert ablation.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert ablation.holm([0.6, 0.5]) == pytest.approx([1.0, 1.0])
    assert ablation.holm([]) == []


def test_a_share_over_seeds_has_the_interval_of_its_tasks_not_of_its_rollouts() -> None:
    one, other = solved(100, range(60)), solved(100, range(20, 80))
    found = ablation.share([one, other])
    assert (found.solved, found.tasks) == (0.6, 100)
    assert found.ci95 == ablation.share([one]).ci95
    assert ablation.share([{"a": True}, {"a": False}, {"b": True}]).solved == pytest.approx(0.75)
    with pytest.raises(ValueError, match="no task has a result"):
        ablation.share([{}])


def test_one_seed_is_tested_by_mcnemar_and_corrected_for_three_comparisons() -> None:
    results = {PER_STAGE: [solved(100, range(70))], COMBINED: [solved(100, range(60))], BASE: [solved(100, range(3))]}
    found = {(one.first, one.second): one for one in ablation.contrasts(results, "heldout", seed=0)}
    assert list(found) == [(PER_STAGE, COMBINED), (PER_STAGE, BASE), (COMBINED, BASE)]
    main = found[PER_STAGE, COMBINED]
    assert main.difference == pytest.approx(0.1) and main.by_seed == pytest.approx((0.1,))
    assert main.p == pytest.approx(2 / 2**10)
    assert main.p_holm == pytest.approx(main.p), "the largest of the three is not multiplied"
    assert all(one.p <= one.p_holm < 0.05 for one in found.values())


def test_the_verdict_says_who_wins_when_it_is_proven() -> None:
    arms = {PER_STAGE: [solved(100, range(70 + k)) for k in range(3)], COMBINED: [solved(100, range(55 + k)) for k in range(3)]}
    found = made(arms | {BASE: [solved(100, range(3))]})
    assert found.verdict[0].startswith("An adapter for each stage (71.0 %) solves 15.0 points more held-out tasks than one adapter")
    assert "100 tasks, 3 of 3 training seeds the same way" in found.verdict[0]
    assert found.verdict[-1] == "Each is proven better than the base alone."
    assert "(95 %: +" in found.verdict[0]
    turned = made({PER_STAGE: arms[COMBINED], COMBINED: arms[PER_STAGE]})
    assert turned.verdict[0].startswith(
        "One adapter for all stages (71.0 %) solves 15.0 points more held-out tasks than an adapter for each"
    )
    assert "(95 %: +" in turned.verdict[0], "the interval is the winner's, whoever stands first"


def test_the_verdict_claims_nothing_that_is_not_proven() -> None:
    close = {PER_STAGE: [solved(100, range(62))], COMBINED: [solved(100, [*range(59), 98])], BASE: [solved(100, range(58))]}
    said = made(close).verdict
    assert said[0].startswith("No difference is proven between an adapter for each stage (62.0 %) and one adapter")
    assert said[-1] == "Not proven better than the base alone: an adapter for each stage, one adapter for all stages."
    assert not any(one.proven for one in made(close).contrasts)


def test_what_was_proven_alone_is_not_proven_among_many() -> None:
    """Six tasks gained and none lost is p = 0.031, and 0.19 where it is one of six comparisons."""
    alike = [solved(100, range(50))]
    results = {PER_STAGE: [solved(100, range(56))], COMBINED: alike, MATCHED: alike, BASE: alike}
    found = ablation.contrasts(results, "heldout", seed=0)
    assert (found[0].p, found[0].p_holm) == pytest.approx((2 / 2**6, 6 * 2 / 2**6))
    assert not found[0].proven
    assert all("No difference is proven" in sentence for sentence in made(results).verdict[:2])


def test_stages_adapters_that_were_tuned_too_are_set_against_one_adapter_as_the_others_are() -> None:
    results = {PER_STAGE: [solved(100, range(50))], TUNED: [solved(100, range(61))], COMBINED: [solved(100, range(60))]}
    said = made(results).verdict
    assert said[0].startswith("One adapter for all stages (60.0 %) solves 10.0 points more")
    assert said[1].startswith("No difference is proven between an adapter for each stage, its rate looked for too (61.0 %) and one")


def test_masked_tasks_are_left_out_of_the_pairs() -> None:
    results = {PER_STAGE: [{"a": True, "b": True, "c": True}], COMBINED: [{"a": False, "b": True}]}
    (found,) = ablation.contrasts(results, "heldout", seed=0)
    assert (found.tasks, found.difference) == (2, 0.5)


def test_arms_that_saw_other_rows_are_not_compared() -> None:
    assert ablation.unequal({PER_STAGE: TRAINED, COMBINED: TRAINED.model_copy(update={"parameters": 1, "seconds": 9.0})}) == ""
    told = ablation.unequal({PER_STAGE: TRAINED, COMBINED: TRAINED.model_copy(update={"rows": 1639})})
    assert told.startswith("the arms did not see the same rows as often") and "combined: 1639 rows" in told


def test_table_and_page_hold_every_arm_and_load_nothing(tmp_path: Path) -> None:
    found = made({PER_STAGE: [solved(10, range(7))], COMBINED: [solved(10, range(6))], BASE: [solved(10, range(1))]})
    shown = table(found)
    assert all(f"  {name} " in shown for name in (PER_STAGE, COMBINED, BASE)) and found.verdict[0] in shown
    assert "1,640" in shown and "250,000" in shown and "70.0 %" in shown
    drawn = page(found)
    assert drawn.count("<svg") == 1 and "<script" not in drawn and "://" not in drawn
    assert "0.75" in drawn and "Review: tells right from wrong" in drawn
    write(tmp_path, found)
    assert Ablation.model_validate_json((tmp_path / "ablation.json").read_text()) == found
    assert {path.name for path in tmp_path.iterdir()} == {"ablation.json", "ablation.html"}


def test_share_is_what_it_says() -> None:
    assert ablation.share([{"a": True}]) == Share(solved=1.0, ci95=ablation.share([{"a": True}]).ci95, tasks=1)
