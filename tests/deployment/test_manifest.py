from __future__ import annotations

import json

import pytest

from bundle_files import change
from drupe.deployment.manifest import file_digest
from drupe.deployment.runtime import load
from drupe.errors import InputError


@pytest.mark.parametrize(
    "edit",
    [
        {"classes": ["cherry_pit", "cherry_clean"]},
        {"name": "another"},
        {"provenance": {}},
        {"functions": {"low": 0.9, "high": 0.9}},
        {"functions": {"certificate": None}},
        {"functions": {"precision": "int8"}},
        {"digest": "0" * 64},
    ],
)
def test_one_edit_of_the_manifest_is_found(copied, edit) -> None:
    path = copied / "bundle.json"
    document = json.loads(path.read_text())
    if isinstance(edit.get("functions"), dict):
        edit = {"functions": [one | edit["functions"] for one in document["functions"]]}
    path.write_text(json.dumps(document | edit))
    with pytest.raises(InputError, match=r"bundle\.json: changed since the bundle was made"):
        load(copied, uncertified=True)


def test_a_manifest_laid_out_otherwise_is_the_same(copied) -> None:
    path = copied / "bundle.json"
    document = json.loads(path.read_text())
    path.write_text(json.dumps(document, sort_keys=True, separators=(",", ":")))
    assert load(copied).is_certified


def test_damaged_bundles_are_refused(copied, tmp_path) -> None:
    with pytest.raises(InputError, match=r"must be a bundle, but holds no bundle\.json"):
        load(tmp_path)
    with pytest.raises(InputError, match="must be a bundle, but there is no such folder"):
        load(tmp_path / "absent")
    (copied / "fp32.onnx").rename(copied / "other.onnx")
    with pytest.raises(InputError, match=r"fp32\.onnx: can't be read"):
        load(copied)
    change(copied, schema_version=2)
    with pytest.raises(InputError, match="must be 1, got 2: the bundle was made by a newer"):
        load(copied)
    for version in ("1", True, 0, 1.0, None):
        change(copied, schema_version=version)
        with pytest.raises(InputError, match="schema_version: must be 1, got"):
            load(copied)
    (copied / "bundle.json").write_text("{")
    with pytest.raises(InputError, match="not valid JSON"):
        load(copied)


def test_a_path_that_climbs_out_is_refused(copied) -> None:
    document = json.loads((copied / "bundle.json").read_text())
    secret = copied.parent / "secret"
    secret.write_bytes(b"x")
    change(copied, files=document["files"] | {"../secret": file_digest(b"x")})
    with pytest.raises(InputError, match="files"):
        load(copied)
    graphs = [one | {"graph": "../secret"} for one in document["functions"]]
    change(copied, files=document["files"], functions=graphs)
    with pytest.raises(InputError, match="graph"):
        load(copied)


def test_a_file_that_is_not_listed_is_never_read(copied) -> None:
    document = json.loads((copied / "bundle.json").read_text())
    listed = {name: digest for name, digest in document["files"].items() if name != "fp32.onnx"}
    change(copied, files=listed)
    with pytest.raises(InputError, match=r"files: must list fp32\.onnx"):
        load(copied)


def test_a_manifest_of_an_older_drupe_or_with_odd_text(copied) -> None:
    path = copied / "bundle.json"
    document = json.loads(path.read_text())
    path.write_text(json.dumps(document | {"name": "\ud800"}))
    with pytest.raises(InputError, match="changed since the bundle was made"):
        load(copied)
    del document["digest"]
    path.write_text(json.dumps(document))
    with pytest.raises(InputError, match="digest: required, but missing: made by an older Drupe"):
        load(copied)


@pytest.mark.parametrize(("low", "high"), [(0.9, 0.1), (-1, 0.5), ("NaN", 0.5)])
def test_thresholds_that_make_no_sense_are_refused(copied, low, high) -> None:
    document = json.loads((copied / "bundle.json").read_text())
    change(copied, functions=[one | {"low": low, "high": high} for one in document["functions"]])
    with pytest.raises(InputError, match="low"):
        load(copied)


@pytest.mark.parametrize("name", ["fp32.onnx", "golden.npz", "calibration.npz", "model_card.md"])
def test_one_changed_byte_is_found_in_any_file(copied, name) -> None:
    content = bytearray((copied / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copied / name).write_bytes(content)
    with pytest.raises(InputError, match=f"{name}: changed since the bundle was made"):
        load(copied)
