from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from filelock import FileLock

from drupe.data.joined import join_datasets
from drupe.data.overlay import apply_fixes, find_fixes, overlay_path
from drupe.errors import InputError
from drupe.study.definition.plan import Task
from drupe.study.execution.ray import node as ray_node
from drupe.study.execution.ray.data import Sender
from drupe.study.execution.ray.file_chunks import Parcel
from drupe.study.execution.ray.messages import Data, Order
from drupe.study.execution.ray.node import NodeRun, _own_folder, receive_data
from drupe.training.config import ExperimentConfig
from drupe.training.preparation import prepare_data


@pytest.fixture(autouse=True)
def no_object_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a reference be the chunk itself."""
    monkeypatch.setattr(ray_node, "_get", bytes)


def config_for(root: Path) -> ExperimentConfig:
    return ExperimentConfig.model_validate(
        {"model": {"architecture": "test_resnet"}, "input": {"size": 64}, "data": {"root": root}}
    )


def test_a_node_finds_data_fixes_and_pack_and_decodes_nothing(
    small_synthetic, tmp_path, monkeypatch
) -> None:
    store = tmp_path / "store"
    fixes = tmp_path / "fixes.csv"
    first = sorted(small_synthetic.rglob("*.png"))[0].relative_to(small_synthetic).as_posix()
    fixes.write_text(f"path,action,value\n{first},exclude,\n")
    apply_fixes(small_synthetic, store, fixes)
    config = config_for(small_synthetic)
    here = prepare_data(config, store)

    sent = Sender(store, bytes).data(config)
    root, node_store = receive_data(sent, tmp_path / "node")

    def refuse(*_: object) -> None:
        raise AssertionError("decoded or compared again")

    monkeypatch.setattr("drupe.data.pack.read_file", refuse)
    monkeypatch.setattr("drupe.training.preparation.duplicate_groups", refuse)
    there = prepare_data(config_for(root), node_store)
    assert there.dataset.fingerprint == here.dataset.fingerprint
    assert there.groups.tolist() == here.groups.tolist()
    assert overlay_path(root, node_store) != overlay_path(small_synthetic, store)
    assert find_fixes(root, node_store).fixes.exclude == {first}


def test_a_table_and_several_folders_travel_as_they_are(
    small_synthetic, tmp_path, monkeypatch
) -> None:
    store = tmp_path / "store"
    crops = shutil.copytree(small_synthetic, tmp_path / "crops")
    more = shutil.copytree(small_synthetic, tmp_path / "more")
    paths = [path.relative_to(crops).as_posix() for path in crops.rglob("*.png")]
    lines = [f"{path},{path.split('/')[1]},{path.split('/')[0]}" for path in paths]
    (crops / "labels.csv").write_text("\n".join(["path,label,split", *lines]))
    for root in (crops / "labels.csv", join_datasets([crops / "labels.csv", more], store)):
        here = prepare_data(config_for(root), store)
        far, node_store = receive_data(
            Sender(store, bytes).data(config_for(root)), tmp_path / "node"
        )
        there = prepare_data(config_for(far), node_store)
        assert there.dataset.fingerprint == here.dataset.fingerprint

    lines = [f"{crops}/{line}" for line in lines]
    (more / "elsewhere.csv").write_text("\n".join(["path,label,split", *lines]))
    with pytest.raises(InputError, match="must name files below its folder to be sent"):
        Sender(store, bytes).data(config_for(more / "elsewhere.csv"))


def test_a_node_with_another_version_refuses_the_run(tmp_path) -> None:
    task = Task("A seed 1", "train", "A", "gpu", tmp_path / "run", 1)
    nothing = Parcel("", 0, ())

    report = NodeRun().begin(Order(task, "9.9.9", "", Data("", nothing, nothing)))

    assert report.exit_code == 2
    assert b"the study runs 9.9.9" in report.log


def test_what_dead_runs_left_is_removed_and_what_is_held_stays(tmp_path) -> None:
    for name in ("dead", "alive"):
        (tmp_path / name / "run").mkdir(parents=True)
    with FileLock(tmp_path / "alive" / ".lock"):
        folder, lock = _own_folder(tmp_path)
    lock.release()

    assert {item.name for item in tmp_path.iterdir()} - {".runs.lock"} == {"alive", folder.name}
