from __future__ import annotations

from typing import Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field

from drupe.configuration import fingerprint, merge, parse_overrides, read_yaml, validate
from drupe.errors import InputError


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")
    alpha: float = Field(0.0, ge=0, lt=1)
    kind: Literal["one", "two"] = "one"


class Outer(BaseModel):
    model_config = ConfigDict(extra="forbid")
    inner: Inner = Inner()
    name: str


def test_every_mistake_is_in_one_message_with_what_where_allowed_and_got():
    with pytest.raises(InputError) as caught:
        validate(Outer, {"inner": {"alpha": 1.5, "kind": "three", "alhpa": 1}}, "a.yaml")

    assert set(caught.value.problems) == {
        "inner.alpha: must be in [0, 1), got 1.5 (a.yaml)",
        "inner.kind: must be 'one' or 'two', got 'three' (a.yaml)",
        "inner.alhpa: unknown key (did you mean alpha?) (a.yaml)",
        "name: required, but missing (a.yaml)",
    }


def test_wrong_type_says_what_is_wanted():
    with pytest.raises(InputError, match=r"inner\.alpha: must be a valid number.*got 'high'"):
        validate(Outer, {"name": "x", "inner": {"alpha": "high"}}, "a.yaml")


def test_overrides_are_yaml_values_under_dotted_keys():
    tree = parse_overrides(["training.epochs=3", "training.rate=1e-4", "data.defect=null", "a=[1]"])

    assert tree == {
        "training": {"epochs": 3, "rate": 1e-4},
        "data": {"defect": None},
        "a": [1],
    }


def test_all_wrong_overrides_are_named():
    with pytest.raises(InputError) as caught:
        parse_overrides(["epochs", "=3", "a.b={"])

    assert len(caught.value.problems) == 3


def test_merge_goes_into_mappings_and_changes_neither():
    base, over = {"a": {"b": 1, "c": 2}}, {"a": {"c": 3}}

    assert merge(base, over) == {"a": {"b": 1, "c": 3}}
    assert base == {"a": {"b": 1, "c": 2}}


def test_fingerprint_ignores_the_order_of_keys_only():
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    assert fingerprint({"a": [1, 2]}) != fingerprint({"a": [2, 1]})


@pytest.mark.parametrize(
    ("text", "message"),
    [("a: [", "not valid YAML"), ("- a\n", "must be a YAML mapping, got list")],
)
def test_files_that_are_no_mapping(tmp_path, text, message):
    file = tmp_path / "a.yaml"
    file.write_text(text)
    with pytest.raises(InputError, match=message):
        read_yaml(file)


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_yaml(tmp_path / "none.yaml")
    with pytest.raises(InputError, match="must be a YAML file, got a folder"):
        read_yaml(tmp_path)
