from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from drupe.errors import InputError
from drupe.runs.training_overlap import Seen
from drupe.training.members import expand_seeds, read_members
from run_files import predictions, seal, write_run

SEEN = Seen(trained_on=None, picked_on_test=False)


def run(folder: Path, *, size: int = 64, crossfit: int | None = None, **written) -> Path:
    """Write a run that could be a member; each has weights of its own."""
    write_run(folder, **written)
    (folder / "model.safetensors").write_bytes(str(folder).encode())
    config = {"model": {"architecture": "test_resnet"}, "input": {"size": size}}
    config |= {"calibration": {"crossfit": crossfit}} if crossfit else {}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    seal(folder)
    return folder


def test_runs_that_share_everything_are_members_in_the_order_given(tmp_path) -> None:
    runs = [run(tmp_path / name) for name in ("B", "A")]
    assert [member.folder for member in read_members(runs)] == runs


def test_a_folder_of_seeds_stands_for_its_runs(tmp_path) -> None:
    seeds = [run(tmp_path / "EXP" / f"seed-{seed}") for seed in (1, 2)]
    other = run(tmp_path / "other")
    assert expand_seeds([tmp_path / "EXP", other]) == (*seeds, other)
    assert expand_seeds([tmp_path / "absent"]) == (tmp_path / "absent",)


@pytest.mark.parametrize(
    ("other", "differs"),
    [
        ({"fingerprint": "a" * 64}, "data (aaaaaaaaaaaa, ffffffffffff)"),
        ({"size": 128}, "input.size (128, 64)"),
        ({"calibration": predictions(999, 1, prefix="train")}, "calibration items (999, 1000)"),
        ({"calibration": predictions(1000, 1, prefix="late")}, "calibration items (1000, 1000)"),
        ({"test": predictions(801, 2)}, "test items (801, 800)"),
        ({"fingerprint": "a" * 64, "size": 32}, "input.size (32, 64), data (aaaaaaaaaaaa"),
    ],
)
def test_what_differs_is_named_in_one_message(tmp_path, other, differs) -> None:
    runs = [run(tmp_path / "A"), run(tmp_path / "B", **other)]
    with pytest.raises(InputError) as refused:
        read_members(runs)
    (message,) = refused.value.problems
    assert f"items with {runs[0]}; {runs[1]} differs in {differs}" in message


def test_another_order_of_classes_is_named(tmp_path) -> None:
    runs = [run(tmp_path / "A"), run(tmp_path / "B")]
    record = json.loads((runs[1] / "run.json").read_text())
    record["data"]["classes"].reverse()
    (runs[1] / "run.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match=r"differs in classes \(cherry_pit / cherry_clean, "):
        read_members(runs)


@pytest.mark.parametrize(
    ("other", "why"),
    [
        ({"seen": SEEN}, "it was imported"),
        ({"crossfit": 3}, "it has learnt from every training item"),
        ({"approximate": "pooled"}, "its calibration is approximate: pooled"),
        ({"status": "failed"}, "must hold a finished run, got one that is failed"),
    ],
)
def test_a_run_that_can_not_be_a_member_is_refused_with_the_reason(tmp_path, other, why) -> None:
    with pytest.raises(InputError, match=why):
        read_members([run(tmp_path / "A"), run(tmp_path / "B", **other)])


def test_an_ensemble_is_no_member(tmp_path) -> None:
    runs = [run(tmp_path / "A"), run(tmp_path / "B")]
    record = json.loads((runs[1] / "run.json").read_text())
    member = dict.fromkeys(("run", "folder", "architecture", "identity", "weights"), "x")
    record["members"] = [{**member, "temperature": 1.0}] * 2
    (runs[1] / "run.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match="it is one itself; give its members"):
        read_members(runs)


def test_everything_that_is_wrong_is_said_at_once(tmp_path) -> None:
    with pytest.raises(InputError) as refused:
        read_members([tmp_path / "absent", run(tmp_path / "B", seen=SEEN)])
    assert len(refused.value.problems) == 2


def test_too_few_and_the_same_twice_are_refused(tmp_path) -> None:
    first = run(tmp_path / "A")
    with pytest.raises(InputError, match="needs at least two runs, got 1"):
        read_members([first])
    with pytest.raises(InputError, match=r"different networks, got the same in .*A, .*A"):
        read_members([first, first])
