from __future__ import annotations

import pytest
import typer

from drupe.cli.usage import telling


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("threshold a.csv --confidence abc", "'--confidence': must be a valid number, got 'abc'"),
        ("train fast --seed 1.5", "'--seed': must be a valid integer, got '1.5'"),
        ("bench b --threads 0", "'--threads': must be greater than or equal to 1, got '0'"),
        ("export a b --precision fp17", "'--precision': 'fp17' is not one of"),
        ("data synth d --images few", "'--images': must be a valid integer, got 'few'"),
    ],
)
def test_a_refused_value_is_named(quick, words, message) -> None:
    done = quick(*words.split(), columns=200)
    assert done.code == 2
    said = " ".join(done.stderr.split()).replace('"', "'")
    # Typer before 0.20 checks values itself, in words of its own.
    assert message in said or f"'{words.rpartition(' ')[2]}' is not" in said
    assert "Value error" not in said


def test_a_message_without_a_cause_stays() -> None:
    assert telling(typer.BadParameter("'abc' is not a valid float.")) == (
        "'abc' is not a valid float."
    )


def test_what_needs_a_run_says_what_it_got(quick, tmp_path) -> None:
    (tmp_path / "scores.csv").write_text("path,label,score\n")
    for words in (("export", "scores.csv", "x"), ("evaluate", "scores.csv")):
        done = quick(*words)
        assert done.code == 2
        assert "scores.csv: must be a run directory, but it is a file" in done.stderr
    assert "must be a run directory or a CSV file" in quick("threshold", ".").stderr


def test_a_key_of_a_study_is_sent_there(quick, tmp_path) -> None:
    (tmp_path / "mine.yaml").write_text(
        "model: {architecture: test_resnet}\ncriteria: {recall: 0.9}\n"
    )
    done = quick("train", "mine.yaml", "--data", "crops")
    assert done.code == 2
    assert "criteria: belongs into a study's file (drupe study run)" in done.stderr
    assert "did you mean" not in done.stderr


def test_a_misspelt_tracker_is_corrected(quick, tmp_path) -> None:
    """A training is tracked as a study is; the key is no mistake for ``training``."""
    (tmp_path / "mine.yaml").write_text("model: {architecture: test_resnet}\ntracking: {uri: x}\n")
    done = quick("train", "mine.yaml", "--data", "crops")
    assert done.code == 2
    assert "tracking.uri: unknown key" in done.stderr
    assert "training" not in done.stderr


def test_keys_of_a_study_are_those_of_the_code() -> None:
    from drupe.study.definition.spec import StudySpec
    from drupe.training.config import STUDY_KEYS, ExperimentConfig

    assert set(StudySpec.model_fields) - set(ExperimentConfig.model_fields) == STUDY_KEYS


def test_three_classes_name_the_way(quick, tmp_path) -> None:
    for name in ("clean", "pit", "stem"):
        (tmp_path / "crops" / name).mkdir(parents=True)
        (tmp_path / "crops" / name / "1.png").touch()
    done = quick("train", "fast", "--data", "crops")
    assert done.code == 2
    assert "got 3: clean, pit, stem; name the clean one of several: --good CLASS" in done.stderr
