from __future__ import annotations

import pytest

from drupe.errors import InputError
from drupe.study.plan import plan
from drupe.study.run import check_tasks, run_study
from drupe.study.spec import Study, load_study
from drupe.training.record import RunRecord, write_config

STUDY = """
study: small
seeds: [1, 2]
defaults: {model: {architecture: test_resnet}}
experiments: [{id: A}, {id: B}]
"""


@pytest.fixture
def study(tmp_path):
    (tmp_path / "small.yaml").write_text(STUDY)

    def load(**data) -> Study:
        return load_study(tmp_path / "small.yaml", {"data": data})

    return load


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({}, "data.root: required: give --data DIR"),
        ({"root": "/nowhere"}, "/nowhere: must be a dataset folder"),
        ({"defect": "plum"}, "got 'plum'"),
    ],
)
def test_wrong_input_is_said_once_before_any_run_starts(
    study, small_synthetic, tmp_path, data, message
):
    def announce(*_):
        raise AssertionError("a run was started")

    data = {"root": str(small_synthetic), **data} if data else {}
    with pytest.raises(InputError, match=message) as caught:
        run_study(study(**data), tmp_path / "store", announce)

    assert len(caught.value.problems) == 1
    assert not (tmp_path / "store").exists()


def record(identity: str) -> RunRecord:
    data = {"fingerprint": "f", "classes": ("clean", "pit"), "skipped": []}
    data |= dict.fromkeys(("fit", "calibration", "test", "dropped"), 1)
    fields = {"status": "done", "experiment": "A", "seed": 1, "identity": identity, "data": data}
    fields |= {"crop": None, "weights": None, "device": "cpu", "processes": 1, "versions": {}}
    return RunRecord.model_validate({**fields, "host": {}, "started": "now"})


def test_a_folder_with_another_run_is_found_before_any_run_starts(study, small_synthetic, tmp_path):
    tasks = list(plan(study(root=str(small_synthetic)), tmp_path / "store"))
    check_tasks(tasks)
    first, second = tasks[0], tasks[1]
    write_config(first.folder, first.config)
    record(first.config.identity("f")).write(first.folder)
    check_tasks(tasks)

    other = second.config.model_copy(update={"seed": 7})
    write_config(second.folder, other)
    record(other.identity("f")).write(second.folder)

    with pytest.raises(InputError, match=r"B/seed-1: already holds another run \(seed: run has 7"):
        check_tasks(tasks)
