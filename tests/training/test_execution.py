from __future__ import annotations

import json
import platform

import pytest
import torch

from drupe.errors import InputError
from drupe.models.geometry import Geometry
from drupe.models.network import build_network
from drupe.training import execution
from drupe.training.config import ExperimentConfig
from drupe.training.distributed import World
from drupe.training.execution import (
    choose_device,
    choose_precision,
    keep_freed_memory,
    resolved,
    set_threads,
    with_recorded,
)
from drupe.training.image_batches import ImageSource
from drupe.training.precision import Precision
from drupe.training.preparation import prepare_data

CPU = torch.device("cpu")
ALONE = World()


def config(**training) -> ExperimentConfig:
    return ExperimentConfig.model_validate(
        {"model": {"architecture": "test_resnet"}, "training": training}
    )


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield before
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("wanted", "has_gpu", "expected"),
    [
        ("auto", False, CPU),
        ("cpu", True, CPU),
        ("auto", True, torch.device("cuda", 2)),
        ("cuda", True, torch.device("cuda", 2)),
    ],
)
def test_each_process_takes_its_own_gpu_where_there_is_one(
    monkeypatch, wanted, has_gpu, expected
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_gpu)

    assert choose_device(wanted, World(rank=6, size=8, local_rank=2, local_size=4)) == expected


def test_a_gpu_that_is_not_there_is_an_error(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    with pytest.raises(InputError) as caught:
        choose_device("cuda", World())
    assert caught.value.problems == (
        "training.device: must be cpu or auto here, got cuda: no CUDA device found",
    )


@pytest.mark.parametrize(
    ("wanted", "world", "cores", "expected"),
    [
        (3, World(), 8, 3),
        (None, World(size=4, local_size=4), 8, 2),
        (None, World(size=4, local_size=4), 2, 1),
        (5, World(size=2, local_size=2), 8, 5),
    ],
)
def test_processes_share_the_cores(threads, monkeypatch, wanted, world, cores, expected) -> None:
    monkeypatch.setattr(execution, "available_cores", lambda: cores)

    assert set_threads(wanted, world) == expected
    assert torch.get_num_threads() == expected


def test_one_process_keeps_the_threads_that_it_has(threads) -> None:
    torch.set_num_threads(1)

    assert set_threads(None, World()) == 1


def test_one_process_takes_no_more_than_its_quota(threads, monkeypatch) -> None:
    torch.set_num_threads(2)
    monkeypatch.setattr(execution, "available_cores", lambda: 1)

    assert set_threads(None, World()) == 1


def test_memory_is_kept_where_the_c_library_is_glibc(monkeypatch) -> None:
    calls = []
    library = type("Library", (), {"mallopt": lambda self, *given: calls.append(given)})
    monkeypatch.setattr(execution.ctypes, "CDLL", lambda name: library())

    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    keep_freed_memory()
    assert calls == []

    monkeypatch.setattr(platform, "libc_ver", lambda: ("glibc", "2.36"))
    keep_freed_memory()
    assert calls == [(-4, 0), (-1, 2**31 - 1)]  # M_MMAP_MAX, M_TRIM_THRESHOLD of malloc.h


RECORDED = {"device": "cpu", "threads": 3, "precision": "bf16", "layout": "contiguous"}


def test_what_is_left_open_is_taken_from_the_record() -> None:
    taken = with_recorded(config(), config(**RECORDED)).training
    assert {key: getattr(taken, key) for key in RECORDED} == RECORDED

    given = {"device": "cpu", "threads": 1, "precision": "fp32", "layout": "channels_last"}
    kept = with_recorded(config(**given), config(**RECORDED)).training
    assert {key: getattr(kept, key) for key in given} == given


@pytest.mark.parametrize("has_gpu", [True, False])
def test_a_record_of_a_gpu_holds_where_there_is_one(monkeypatch, has_gpu) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_gpu)
    open_config, recorded = config(), config(**{**RECORDED, "device": "cuda"})

    taken = with_recorded(open_config, recorded)

    assert taken.training.device == ("cuda" if has_gpu else "auto")
    assert taken.training.precision == ("bf16" if has_gpu else "auto")
    assert with_recorded(open_config, None) is open_config


def test_what_was_decided_is_written_out_and_nothing_else_changes() -> None:
    before = config(epochs=5)

    after = resolved(before, torch.device("cuda", 1), 7, Precision("fp16", "channels_last"))

    decided = {"device": "cuda", "threads": 7, "precision": "fp16", "layout": "channels_last"}
    assert after.training.model_dump() == {**before.training.model_dump(), **decided}
    assert after.identity("data") == before.identity("data")


@pytest.fixture
def timed(tiny, store):
    """Choose a precision for a tiny network; returns it with the network."""
    experiment = tiny(augmentation={"motion_blur": 0.0})
    data = prepare_data(experiment, store)
    source = ImageSource(data.dataset.images, data.dataset.is_defect, CPU)
    built = build_network(
        experiment.model.architecture,
        input_range="raw",
        geometry=Geometry(64),
        pretrained=False,
        frozen=False,
    )

    def choose(folder, world=ALONE, **training):
        changed = experiment.training.model_copy(update=training)
        wanted = experiment.model_copy(update={"training": changed})
        return choose_precision(built.network, wanted, data, source, folder, 1, world)

    return choose, built.network


def test_real_steps_are_timed_on_a_copy_and_kept_on_record(timed, tmp_path, monkeypatch) -> None:
    choose, network = timed
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}

    chosen = choose(tmp_path, precision="fp32", layout="auto")

    (file,) = (tmp_path / "precision").glob("*.json")
    record = json.loads(file.read_text())
    assert record["chosen"] == {"dtype": chosen.dtype, "layout": chosen.layout}
    assert record["made_from"] | {"device": "", "torch": ""} == {
        "architecture": "test_efficientnet",
        "frozen": False,
        "side": 64,
        "batch": 16,
        "device": "",
        "threads": 1,
        "torch": "",
        "options": [
            {"dtype": "fp32", "layout": "channels_last"},
            {"dtype": "fp32", "layout": "contiguous"},
        ],
    }
    assert all(one["seconds"] > 0 for one in record["timings"])
    after = network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)

    def refuse(*_: object) -> None:
        raise AssertionError("timed again")

    monkeypatch.setattr(execution, "Trainer", refuse)
    assert choose(tmp_path, precision="fp32", layout="auto") == chosen


def test_nothing_is_timed_where_nothing_is_open_or_another_rank_decides(
    timed, tmp_path, monkeypatch
) -> None:
    choose, _ = timed
    exact = choose(tmp_path, precision="fp32", layout="contiguous")
    assert exact == Precision("fp32", "contiguous")

    told = Precision("bf16", "contiguous")
    monkeypatch.setattr(World, "from_main", lambda world, value: told if value is None else value)
    assert choose(tmp_path, World(rank=1, size=2), precision="fp32", layout="auto") == told
    assert not (tmp_path / "precision").exists()
