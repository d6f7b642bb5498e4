from __future__ import annotations

from pathlib import Path

import pytest

from drupe.errors import InputError
from drupe.line.service.guard import read_token
from drupe.line.service.process import named_bundles


def test_bundles_are_called_by_their_folder_or_as_said() -> None:
    found = named_bundles(["runs/Cherries.bundle", "side=b", "other"])
    assert found == {
        "cherries": Path("runs/Cherries.bundle"),
        "side": Path("b"),
        "other": Path("other"),
    }


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["a", "b/a"], "two bundles are called a"),
        (["A B"], "must be 1 to 40 of"),
        (["admin=a"], "not admin"),
        (["a/b=c"], "must be 1 to 40 of"),
        (["=c"], "must be 1 to 40 of"),
    ],
)
def test_names_that_are_no_part_of_an_address_are_refused(words, said) -> None:
    with pytest.raises(InputError, match=said):
        named_bundles(words)


def test_a_token_comes_from_a_file_or_the_environment(tmp_path) -> None:
    file = tmp_path / "token"
    file.write_text("0123456789abcdef\n")
    assert read_token("--token-file", file, "of the environment") == "0123456789abcdef"
    assert read_token("--token-file", None, "fedcba9876543210") == "fedcba9876543210"
    assert read_token("--token-file", None) is None


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"short", "at least 16 characters"), (b"\xff" * 20, "must be ASCII"), (b"a b" * 9, "blanks")],
)
def test_a_token_that_could_be_guessed_is_refused(tmp_path, content, said) -> None:
    file = tmp_path / "token"
    file.write_bytes(content)
    with pytest.raises(InputError, match=said):
        read_token("--token-file", file)
    with pytest.raises(InputError, match="can't be read"):
        read_token("--token-file", tmp_path / "none")


def test_what_can_not_be_opened_leaves_nothing_open(served, tmp_path) -> None:
    (tmp_path / "monitor").mkdir()
    one = served(log=None)
    digest = one.desk.classifier.digest
    (tmp_path / "monitor" / f"other-{digest[:16]}.json").write_text("{}")
    bundle = one.settings.bundles["now"]
    with pytest.raises(InputError, match="must be the state of a monitor"):
        served(bundles={"first": bundle, "other": bundle})
    served(bundles={"first": bundle, "other": bundle}, monitor=None)  # its log is free again


def test_an_alarm_is_said_with_the_bundles_name(served, tmp_path, caplog) -> None:
    one = served()
    one.desk.monitor._alarm("drift", "scores have drifted")
    assert "alarm: now: drift: scores have drifted" in caplog.text


def test_a_damaged_state_lets_go_of_the_log(served, tmp_path) -> None:
    one = served(monitor=None, log=None)
    digest = one.desk.classifier.digest
    (tmp_path / "monitor").mkdir()
    (tmp_path / "monitor" / f"now-{digest[:16]}.json").write_text("{}")
    with pytest.raises(InputError, match="must be the state of a monitor"):
        served()
    served(monitor=None)
