"""``drupe report BUNDLE``: the report of the run behind it, for the bundle's own promise."""

from __future__ import annotations

import shutil

import pytest

from drupe.deployment.manifest import read_manifest
from drupe.errors import InputError
from drupe.reporting.report import build_run_report, render
from drupe.reporting.targets import find_target


def test_a_bundle_is_reported_by_its_own_promise(deployed, tmp_path) -> None:
    run, _, bundle = deployed
    store = tmp_path / "store"
    place = store / "runs" / "train" / "tiny" / "seed-42"
    shutil.copytree(run, place)

    target = find_target([bundle], store)
    assert target.runs == (place,)
    report = build_run_report(target.runs, None, store, target.bundle)

    (answer,) = report.answers
    function = read_manifest(bundle).functions[0]
    assert answer.certificate is not None
    assert answer.certificate.threshold == function.low
    assert (answer.certificate.min_recall, answer.confidence) == (0.9, 0.9)
    assert report.explorer[0].certificate == answer.certificate
    assert "recall ≥ 95 % instead of" not in {step.what for step in answer.steps}
    html = render(report)
    assert f"{function.name}" in html
    assert "0 of" in html


def test_a_bundle_whose_run_is_elsewhere_says_how_to_find_it(deployed, tmp_path) -> None:
    bundle = deployed[2]
    with pytest.raises(InputError, match=r"isn.t in .*: name the store with --store DIR"):
        find_target([bundle], tmp_path)
