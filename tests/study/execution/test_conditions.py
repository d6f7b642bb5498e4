from __future__ import annotations

import json

import pytest

from drupe.errors import InputError
from drupe.study.definition.spec import Condition
from drupe.study.execution.conditions import decide, decisions_made
from run_files import decided, write_run
from study_files import small_study

CONDITION = Condition(none_of=("A", "B"), meet="accuracy")


def runs(folder, **wrong):
    return {
        name: [
            (seed, write_run(folder / name / str(seed), test=decided(100, range(count))))
            for seed, count in enumerate(counts)
        ]
        for name, counts in wrong.items()
    }


@pytest.mark.parametrize(
    ("a", "b", "runs_it", "reason"),
    [
        ((20, 20), (11, 11), True, "run, because none reaches 90.00 %: A 80.00 %, B 89.00 %"),
        # A mean that is met exactly is met; a single good seed is not enough.
        ((20,), (8, 12), False, "not run, because at least one reaches 90.00 %: A 80.00 %, B 90"),
        ((20,), (0, 21), True, "run, because none reaches 90.00 %: A 80.00 %, B 89.50 %"),
        ((20,), (), False, "not run, because it can't be decided: A 80.00 %, B has no result"),
        ((5,), (), False, "not run, because at least one reaches 90.00 %: A 95.00 %, B has no"),
        ((), (), False, "not run, because it can't be decided: A has no result, B has no result"),
    ],
)
def test_the_seed_mean_as_a_point_figure_decides(tmp_path, a, b, runs_it, reason) -> None:
    decision = decide(CONDITION, 0.9, runs(tmp_path, A=a, B=b))

    assert decision.runs == runs_it
    assert decision.reason.startswith(reason)


def test_copies_count_once(tmp_path) -> None:
    run = write_run(tmp_path, test=decided(100, range(40)), copies=39)  # 40 copies, all wrong

    decision = decide(Condition(none_of=("A",), meet="accuracy"), 0.9, {"A": [(1, run)]})

    assert "98.3" in decision.reason  # 60 of 61
    assert not decision.runs


def test_only_what_has_begun_or_was_left_out_was_decided(tmp_path) -> None:
    experiments = [{"id": "A"}, {"id": "C", "when": {"none_of": ["A"], "meet": "accuracy"}}]
    spec = small_study(tmp_path, experiments=experiments, criteria={"accuracy": 0.9}).spec
    found = runs(tmp_path, A=(20,), C=())

    assert decisions_made(spec, {"A"}, found) == {}
    assert decisions_made(spec, {"A", "C"}, found)["C"].runs


def test_a_damaged_evaluation_is_named(tmp_path) -> None:
    found = runs(tmp_path, A=(20,), B=(20,))
    (found["A"][0][1] / "evaluation.json").write_text(json.dumps({}))

    with pytest.raises(InputError, match="drupe evaluate"):
        decide(CONDITION, 0.9, found)
