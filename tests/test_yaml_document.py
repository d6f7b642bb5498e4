from __future__ import annotations

import time

import pytest
import yaml

from drupe.configuration import merge, read_yaml
from drupe.errors import InputError
from drupe.training.config import load_experiment
from drupe.yaml_document import MOST_NODES, read_document

BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{one}: &{one} [{', '.join(['*' + before] * 10)}]\n"
    for before, one in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    "text",
    [
        "training: {epochs: 3, learning_rate: 1.0e-3}\nname: x\n",
        "base: &base {a: 1, b: [1, 2]}\nother: {<<: *base, c: 3}\n",
        "- 1\n- {a: 1}\n- {a: 2}\n",
        "3.5",
        "on: 1\noff: 2\n",
    ],
)
def test_what_is_in_order_reads_as_ever(text) -> None:
    assert read_document(text) == yaml.safe_load(text)


def test_nothing_is_nothing() -> None:
    assert read_document("") is None
    assert read_document("# a comment\n") is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", "line 3: 'a' is given twice, first in line 1"),
        ("x:\n  deep:\n    k: 1\n    k: 2\n", "line 4: 'k' is given twice, first in line 3"),
        ("- {a: 1, a: 1}\n", "'a' is given twice"),
        ("1: a\n1: b\n", "'1' is given twice"),
        ("? [a]\n: 1\n", "line 1: a key must be a word or a number"),
        ("a: &a [*a]\n", "holds itself"),
        (BOMB, f"stands for more than {MOST_NODES:,} values"),
        ("[" * 70 + "]" * 70, "nested too deeply"),
        ("[" * 5000 + "]" * 5000, "nested too deeply"),
        ("a: !!int ''\n", "isn't of the type|invalid literal"),
        ("a: !!bool maybe\n", "isn't of the type"),
        ("a: !!timestamp soon\n", "isn't of the type"),
        ("a: !!float x\n", "could not convert"),
        ("a: 2026-13-01\n", "month"),
        ("a: [1, 2\n", "expected"),
        ("a: !!python/object:os.system x\n", "could not determine a constructor"),
    ],
)
def test_what_is_not_is_said(text, message) -> None:
    begun = time.monotonic()
    with pytest.raises(ValueError, match=message):
        read_document(text)
    assert time.monotonic() - begun < 10, "however few bytes it takes to ask for more"


def test_a_character_that_yaml_does_not_have() -> None:
    with pytest.raises(ValueError, match="special characters are not allowed"):
        read_document("a: x\0y")


def test_a_file_is_named(tmp_path) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text("criteria: {recall: 0.99, recall: 0.5}\n")
    with pytest.raises(InputError, match=r"plan\.yaml: not valid YAML: line 1: 'recall' is given"):
        read_yaml(path)


def test_a_value_where_a_mapping_belongs_does_not_vanish(tmp_path) -> None:
    with pytest.raises(InputError, match=r"data: must be a mapping where data\.root is given too"):
        merge({"data": "crops"}, {"data": {"root": "other"}})
    assert merge({"data": None}, {"data": {"root": "x"}}) == {"data": {"root": "x"}}
    assert merge({"data": {"a": 1}}, {"data": "x"}) == {"data": "x"}
    path = tmp_path / "one.yaml"
    path.write_text("model: {architecture: resnet18}\ndata: crops\n")
    with pytest.raises(InputError, match="data: must be a mapping"):
        load_experiment(path, {"data": {"root": "there"}})


@pytest.mark.thorough
def test_a_message_is_never_as_long_as_a_mistake(tmp_path) -> None:
    path = tmp_path / "long.yaml"
    unknown = "".join(f"key{number}: 1\n" for number in range(20_000))
    path.write_text("model: {architecture: resnet18}\n" + unknown)
    with pytest.raises(InputError) as caught:
        load_experiment(path)
    assert len(str(caught.value)) < 20_000
    assert "more mistakes" in str(caught.value)
