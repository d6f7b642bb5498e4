from __future__ import annotations

from typing import Annotated, Any, Literal, Self

import pytest
from pydantic import BaseModel, ConfigDict, Field, model_validator

from drupe.configuration import (
    IDENTIFIER,
    changes,
    fingerprint,
    merge,
    parse_overrides,
    read_yaml,
    validate,
)
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


def test_changes_name_each_leaf_that_differs_in_the_order_of_the_old():
    old = {"b": 1, "a": {"x": 1, "y": [1], "z": {"q": None}}, "gone": {"k": 1}, "kind": 1}
    new = {"a": {"y": [2], "x": 1, "z": {}, "new": 3}, "b": 1, "kind": {"k": 1}}

    assert list(changes(old, new)) == [
        ("a.y", [1], [2]),
        ("a.new", None, 3),
        ("gone", {"k": 1}, None),
        ("kind", 1, {"k": 1}),
    ]
    assert list(changes(old, old)) == []
    assert list(changes({"k": 1}, {"k": 2}, "study.")) == [("study.k", 1, 2)]


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


@pytest.mark.parametrize("document", [None, "x", [], 5])
def test_a_document_that_is_no_mapping_is_refused(document):
    with pytest.raises(InputError, match=r"^run\.json: must be a mapping, got "):
        validate(Outer, document, "run.json")


@pytest.mark.parametrize("text", ["[" * 5000, "day: 2026-13-45"])
def test_yaml_that_only_python_trips_over(tmp_path, text):
    file = tmp_path / "a.yaml"
    file.write_text(text)
    with pytest.raises(InputError, match=r"a\.yaml: not valid YAML"):
        read_yaml(file)
    with pytest.raises(InputError, match="a: value is not valid YAML"):
        parse_overrides([f"a={text.removeprefix('day: ')}"])


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid")
    id: str = Field(pattern=IDENTIFIER)
    size: int = 0


class Whole(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str = Field("whole", pattern=IDENTIFIER)
    crop: Literal["none", "auto"] | Annotated[int, Field(ge=16, le=64)] = "none"
    seeds: tuple[Annotated[int, Field(ge=0, lt=8)], ...] = Field((1,), min_length=1)
    part: Part | None = None
    parts: tuple[Part, ...] = ()
    options: dict[str, Any] = {}
    files: dict[Annotated[str, Field(pattern=IDENTIFIER)], int] = {}
    pair: tuple[int, int] = (1, 2)

    @model_validator(mode="after")
    def _differ(self) -> Self:
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError("seeds: must differ")
        return self


NAME = "must hold letters, digits, '.', '_' and '-' only and begin with a letter or digit"


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        ({"crop": "weird"}, "crop: must be none, auto or an integer in [16, 64], got 'weird'"),
        ({"crop": 5}, "crop: must be none, auto or an integer in [16, 64], got 5"),
        ({"name": "a/b"}, f"name: {NAME}, got 'a/b'"),
        ({"name": "my file"}, f"name: {NAME}, got 'my file' (left out, the file's name counts)"),
        ({1: 2}, "1: the key must be text, got 1"),
        ({"options": {1: 2}}, "options.1: the key must be text, got 1"),
        ({"seeds": []}, "seeds: must hold at least 1, got []"),
        ({"seeds": [1, 9]}, "seeds.1: must be in [0, 8), got 9"),
        ({"seeds": [9]}, "seeds.0: must be in [0, 8), got 9"),
        ({"pair": [1, 2, 3]}, "pair: must hold at most 2, got [1, 2, 3]"),
        ({"files": {"../up": 1}}, f"files.../up: the key {NAME}, got '../up'"),
        ({"seeds": 1}, "seeds: must be a list, got 1"),
        ({"seeds": [1, 1]}, "seeds: must differ"),
        ({"part": 3}, "part: must be a mapping, got 3"),
        ({"part": {"id": "a", "typo": 1}}, "part.typo: unknown key; known: id, size"),
        ({"parts": [{"id": "a", "szie": 1}]}, "parts.0.szie: unknown key (did you mean size?)"),
        (
            {"parts": [{"id": "a", "size": "big"}]},
            "parts.0.size: must be a valid integer, got 'big'",
        ),
    ],
)
def test_a_mistake_is_told_once_and_in_plain_words(document, problem):
    with pytest.raises(InputError) as caught:
        validate(Whole, document, "study/my file.yaml")

    assert caught.value.problems == (f"{problem} (study/my file.yaml)",)
