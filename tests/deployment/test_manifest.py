from __future__ import annotations

import json

import pytest

from bundle_files import change
from drupe.deployment.manifest import (
    file_digest,
    read_files,
    read_manifest,
    write_manifest,
)
from drupe.deployment.runtime import load
from drupe.derived import sealed
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
    change(copied, schema_version=5)
    with pytest.raises(
        InputError, match="must be 1 or 2 or 3 or 4, got 5: the bundle was made by a newer"
    ):
        load(copied)
    for version in ("1", True, 0, 1.0, None):
        change(copied, schema_version=version)
        with pytest.raises(InputError, match="schema_version: must be 1 or 2 or 3 or 4, got"):
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
    with pytest.raises(InputError, match="it holds half a character"):
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


def test_the_digest_is_of_all_else_that_stands_there() -> None:
    document = {"name": "one", "files": {"a": "b"}}
    first = sealed(document)
    assert first == document | {"digest": first["digest"]}
    assert sealed(first | {"digest": "0" * 64}) == first
    assert sealed(document | {"name": "two"})["digest"] != first["digest"]


def test_a_manifest_is_read_as_it_was_written(bundle, tmp_path) -> None:
    manifest = read_manifest(bundle)
    write_manifest(tmp_path, manifest)
    assert read_manifest(tmp_path) == manifest
    assert (tmp_path / "bundle.json").read_bytes() == (bundle / "bundle.json").read_bytes()


@pytest.mark.parametrize(
    ("certificate", "certified"),
    [(None, False), ({"approximate": None}, True), ({"approximate": "cross-fitted"}, False)],
)
def test_only_an_exact_certificate_certifies(bundle, certificate, certified) -> None:
    (function, *_) = read_manifest(bundle).functions
    assert function.model_copy(update={"certificate": certificate}).is_certified is certified


def test_every_contradiction_comes_in_one_message(copied) -> None:
    path = copied / "bundle.json"
    document = json.loads(path.read_text())
    functions = [one | {"low": 0.75, "high": 0.5} for one in document["functions"]]
    change(copied, files={}, functions=functions)
    with pytest.raises(InputError) as caught:
        read_manifest(copied)
    assert list(caught.value.problems) == [
        *(
            f"{path}: files: must list {name}"
            for name in ("calibration.npz", "fp32.onnx", "golden.npz")
        ),
        *(
            f"{path}: functions: {one['backend']} fp32: low must be at most high, got 0.75 and 0.5"
            for one in functions
        ),
    ]


def test_every_file_that_is_missing_or_changed_comes_in_one_message(copied) -> None:
    manifest = read_manifest(copied)
    assert read_files(copied, manifest)["fp32.onnx"] == (copied / "fp32.onnx").read_bytes()
    (copied / "fp32.onnx").unlink()
    (copied / "model_card.md").write_bytes(b"abc")
    with pytest.raises(InputError) as caught:
        read_files(copied, manifest)
    card = manifest.files["model_card.md"]
    assert set(caught.value.problems) == {
        f"{copied / 'fp32.onnx'}: can't be read (No such file or directory)",
        f"{copied / 'model_card.md'}: changed since the bundle was made: must have the SHA-256 "
        f"{card[:12]}…, got ba7816bf8f01…",
    }


@pytest.mark.parametrize(("text", "kind"), [("[]", "list"), ("3", "int"), ("null", "NoneType")])
def test_a_manifest_that_is_no_mapping(copied, text, kind) -> None:
    (copied / "bundle.json").write_text(text)
    with pytest.raises(InputError, match=rf"bundle\.json: must be a mapping, got {kind}"):
        read_manifest(copied)


def test_an_unknown_key_is_refused(copied) -> None:
    change(copied, colour="red")
    with pytest.raises(InputError, match="colour"):
        read_manifest(copied)
