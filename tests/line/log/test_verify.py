from __future__ import annotations

import hashlib
import json
import shutil

import numpy as np
import pytest

from drupe.errors import InputError
from drupe.line.log.lines import file_name, head_document, log_files
from drupe.line.log.verify import verify_log
from drupe.line.log.writer import DecisionLog
from line_stand_in import images, stand_in

KEY = b"a key of more than 16 bytes"


def changed_byte(lines: list[bytes], random: np.random.Generator) -> list[bytes]:
    place = random.integers(len(lines))
    line = bytearray(lines[place])
    spot = random.integers(len(line) - 1)  # the newline is another test's
    line[spot] = (line[spot] + 1 + random.integers(254)) % 256
    return [*lines[:place], bytes(line), *lines[place + 1 :]]


def dropped(lines: list[bytes], random: np.random.Generator) -> list[bytes]:
    place = random.integers(len(lines))
    return lines[:place] + lines[place + 1 :]


def swapped(lines: list[bytes], random: np.random.Generator) -> list[bytes]:
    one, other = random.choice(len(lines), 2, replace=False)
    lines = list(lines)
    lines[one], lines[other] = lines[other], lines[one]
    return lines


def repeated(lines: list[bytes], random: np.random.Generator) -> list[bytes]:
    place = random.integers(len(lines))
    return [*lines[: place + 1], lines[place], *lines[place + 1 :]]


def cut(lines: list[bytes], random: np.random.Generator) -> list[bytes]:
    return lines[: random.integers(len(lines))]


def put_in(lines: list[bytes], random: np.random.Generator) -> list[bytes]:
    place = random.integers(len(lines) + 1)
    return [*lines[:place], b"\n", *lines[place:]]


ATTACKS = (changed_byte, dropped, swapped, repeated, cut, put_in)


def test_every_one_of_1000_random_changes_is_found(written) -> None:
    assert verify_log(written, key=KEY).problems == []
    assert verify_log(written).problems == []
    random = np.random.default_rng(0)
    files = [path for _, path in log_files(written)]
    contents = {path: path.read_bytes() for path in files}
    missed = []
    for trial in range(1000):
        attack, path = ATTACKS[trial % len(ATTACKS)], files[random.integers(len(files))]
        lines = contents[path].splitlines(keepends=True)
        path.write_bytes(b"".join(attack(lines, random)))
        if not verify_log(written).problems:
            missed.append((attack.__name__, path.name))
        path.write_bytes(contents[path])
    assert missed == []


def test_the_place_of_a_change_is_named(written) -> None:
    path = written / file_name(2)
    content = path.read_bytes()
    path.write_bytes(content.replace(b'"lane":"review"', b'"lane":"accept"', 1))
    changed = next(
        n
        for n, pair in enumerate(
            zip(content.splitlines(), path.read_bytes().splitlines(), strict=True), 1
        )
        if pair[0] != pair[1]
    )
    (problem,) = verify_log(written).problems
    assert (problem.file, problem.line) == (path.name, changed + 1)
    assert f"doesn't continue {path.name}:{changed}:" in str(problem)


def test_missing_files_are_found(written, tmp_path) -> None:
    (written / file_name(2)).rename(tmp_path / "away")
    assert f"must follow {file_name(2)}, which is missing" in str(verify_log(written).problems[0])
    (tmp_path / "away").rename(written / file_name(2))
    (written / file_name(1)).unlink()
    assert "the log begins here" in str(verify_log(written).problems[0])
    assert verify_log(written, is_partial=True, key=KEY).problems == []
    (written / "head.json").unlink()
    assert "no such file" in str(verify_log(written, is_partial=True).problems[0])
    with pytest.raises(InputError, match="must be a decision log"):
        verify_log(tmp_path)


def test_a_rewritten_log_fits_no_key_and_no_earlier_head(tmp_path) -> None:
    """Whoever can write the folder can make another log, but not sign it."""
    for name, score, key in (("log", 0.9, KEY), ("forged", 0.1, b"another key, of 16 bytes")):
        classifier = stand_in()
        with DecisionLog(classifier, tmp_path / name, key=key, clock=lambda: 1e9):
            classifier.decide(images(score)[0])
    shutil.copy(tmp_path / "log" / "head.json", tmp_path / "kept.json")
    forged = tmp_path / "forged"
    assert verify_log(forged).problems == []
    found = verify_log(forged, key=KEY)
    assert ["isn't one of this log and key" in str(one) for one in found.problems] == [True, True]
    found = verify_log(forged, head=tmp_path / "kept.json")
    assert "isn't the one that it states: rewritten since" in str(found.problems[0])
    assert verify_log(tmp_path / "log", key=KEY, head=tmp_path / "kept.json").problems == []
    unsigned = tmp_path / "unsigned"
    DecisionLog(stand_in(), unsigned).close()
    assert "is not signed" in str(verify_log(unsigned, key=KEY).problems[0])


def test_a_cut_tail_with_a_made_up_head_needs_the_key(written) -> None:
    path = log_files(written)[-1][1]
    lines = path.read_bytes().splitlines()[:-3]
    path.write_bytes(b"\n".join(lines) + b"\n")
    last = json.loads(lines[-1])
    assert "3 lines were cut off" in str(verify_log(written).problems[0])
    digest = hashlib.sha256(lines[-1]).hexdigest()
    made_up = head_document(last["n"], digest, last["time"], b"a guess of 16 bytes")
    (written / "head.json").write_text(json.dumps(made_up))
    assert verify_log(written).problems == []
    assert verify_log(written, key=KEY).problems != []
