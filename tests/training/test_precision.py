from __future__ import annotations

import json
import time

import pytest
import torch

from drupe.files import read_json
from drupe.training.precision import Precision, candidates, choose, decide, native_reduced

FP32 = Precision("fp32", "contiguous")
FP32_LAST = Precision("fp32", "channels_last")
BF16 = Precision("bf16", "channels_last")
CPU = torch.device("cpu")


def test_a_reduced_format_must_be_clearly_faster():
    assert choose({FP32: 1.0, FP32_LAST: 0.8, BF16: 0.75}) == FP32_LAST
    assert choose({FP32: 1.0, FP32_LAST: 0.8, BF16: 0.5}) == BF16
    assert choose({BF16: 0.5}) == BF16


def test_what_the_configuration_fixes_is_not_tried():
    assert candidates(CPU, "fp32", "channels_last") == [FP32_LAST]
    assert {option.dtype for option in candidates(CPU, "fp32", "auto")} == {"fp32"}


@pytest.mark.parametrize(
    ("features", "reduced"),
    [({"avx512_bf16": True}, "bf16"), ({"amx_bf16": True}, "bf16"), ({"avx2": True}, None)],
)
def test_bf16_only_where_the_processor_has_it(monkeypatch, features, reduced):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: features)

    assert native_reduced(CPU) == reduced


@pytest.mark.parametrize(("capability", "reduced"), [((7, 5), "fp16"), ((8, 0), "bf16")])
def test_older_gpus_take_fp16(monkeypatch, capability, reduced):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)

    assert native_reduced(torch.device("cuda")) == reduced


def test_the_fastest_is_found_by_timing_and_kept_on_record(tmp_path):
    started = []

    def start(option):
        started.append(option)
        return lambda: time.sleep(0.001 if option == FP32_LAST else 0.02)

    chosen = decide([FP32, FP32_LAST], {"network": "a"}, tmp_path, start, CPU)
    again = decide([FP32, FP32_LAST], {"network": "a"}, tmp_path, start, CPU)

    assert chosen == again == FP32_LAST
    assert started == [FP32, FP32_LAST]
    (record,) = (tmp_path / "precision").iterdir()
    assert len(read_json(record)["timings"]) == 2


def test_another_network_is_timed_anew(tmp_path):
    started = []

    def start(option):
        started.append(option)
        return lambda: None

    decide([FP32, FP32_LAST], {"network": "a"}, tmp_path, start, CPU)
    decide([FP32, FP32_LAST], {"network": "b"}, tmp_path, start, CPU)

    assert len(started) == 4


@pytest.mark.parametrize(
    "damaged", ["", "[]", "{}", "5", "null", '{"chosen": {}}', '{"chosen": {"dtype": "fp99"}}']
)
def test_a_damaged_record_is_timed_anew(tmp_path, damaged):
    def start(option):
        return lambda: time.sleep(0.001 if option == FP32_LAST else 0.005)

    decide([FP32, FP32_LAST], {}, tmp_path, start, CPU)
    (record,) = (tmp_path / "precision").iterdir()
    record.write_text(damaged)

    assert decide([FP32, FP32_LAST], {}, tmp_path, start, CPU) == FP32_LAST
    assert read_json(record)["chosen"] == {"dtype": "fp32", "layout": "channels_last"}


def test_an_edited_record_is_timed_anew(tmp_path):
    """The right form and the right key, but the slower choice."""

    def start(option):
        return lambda: time.sleep(0.001 if option == FP32_LAST else 0.005)

    decide([FP32, FP32_LAST], {}, tmp_path, start, CPU)
    (record,) = (tmp_path / "precision").iterdir()
    document = read_json(record)
    document["chosen"]["layout"] = "contiguous"
    record.write_text(json.dumps(document))

    assert decide([FP32, FP32_LAST], {}, tmp_path, start, CPU) == FP32_LAST


def test_a_record_of_another_format_is_timed_anew(tmp_path):
    decide([FP32, FP32_LAST], {}, tmp_path, lambda _: lambda: None, CPU)
    (record,) = (tmp_path / "precision").iterdir()
    record.write_text('{"chosen": {"dtype": "fp99", "layout": "contiguous"}}')

    assert decide([FP32, FP32_LAST], {}, tmp_path, lambda _: lambda: None, CPU).dtype == "fp32"
