from __future__ import annotations

import shutil

import pytest

from drupe.deployment import subjects
from drupe.deployment.runtime import load
from drupe.deployment.subjects import bundle_subject, open_subjects
from drupe.errors import InputError


def facts(subject) -> tuple[str, str, str, int, int]:
    return subject.name, subject.backend, subject.precision, subject.threads, subject.contract.size


def test_a_bundle_is_its_preferred_function(bundle, crops) -> None:
    (one,) = open_subjects(bundle, 1, every_function=False)
    function = load(bundle).function
    assert facts(one) == (str(bundle), function.backend, "fp32", 1, 64)
    assert one.decide(crops).tolist() == load(bundle).decide(crops).tolist()


def test_every_function_of_a_bundle(bundle) -> None:
    found = {facts(one) for one in open_subjects(bundle, 2, every_function=True)}
    assert found == {
        (f"{bundle} ({backend} fp32)", backend, "fp32", 2, 64)
        for backend in ("onnxruntime", "openvino")
    }


def test_only_what_this_machine_computes(bundle, monkeypatch) -> None:
    monkeypatch.setattr(subjects, "runs_here", lambda backend, precision: backend == "openvino")
    (one,) = open_subjects(bundle, 1, every_function=True)
    assert one.backend == "openvino"
    monkeypatch.setattr(subjects, "runs_here", lambda backend, precision: False)
    with pytest.raises(InputError) as caught:
        open_subjects(bundle, 1, every_function=True)
    names = ", ".join(one.name for one in load(bundle).manifest.functions)
    assert str(caught.value) == (
        f"{bundle}: must hold a function that can be run here, got {names}: not installed, or not "
        "computed here"
    )


def test_a_function_by_its_name(bundle) -> None:
    one = bundle_subject(bundle, 1, "mine", backend="onnxruntime")
    assert facts(one) == ("mine", "onnxruntime", "fp32", 1, 64)


@pytest.mark.parametrize("every_function", [False, True])
def test_a_run_is_its_network_in_pytorch(deployed, every_function) -> None:
    run, _, _ = deployed
    (one,) = open_subjects(run, 1, every_function)
    assert facts(one) == (str(run), "pytorch", "fp32", 1, 64)


def test_a_folder_that_holds_both_is_a_bundle(deployed, copied) -> None:
    shutil.copy(deployed[0] / "run.json", copied)
    (one,) = open_subjects(copied, 1, every_function=False)
    assert one.backend != "pytorch"


def test_what_is_neither_bundle_nor_run(tmp_path) -> None:
    for every_function in (False, True):
        with pytest.raises(InputError, match=r"must be a bundle, but holds no bundle\.json"):
            open_subjects(tmp_path, 1, every_function)
