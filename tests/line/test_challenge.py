from __future__ import annotations

import json

import pytest
from scipy.stats import beta

from drupe.errors import InputError
from drupe.line.challenge import Challenge, Piece, challenge
from drupe.line.log.writer import DecisionLog
from line_stand_in import images, stand_in

START = 1_795_000_000


def test_a_failed_challenge_holds_what_was_accepted_since_the_last_pass(tmp_path) -> None:
    pieces, records, log = (tmp_path / name for name in ("pieces.csv", "records.jsonl", "log"))
    pieces.write_text("piece,expected,seen\nP1,defect,\nC1,clean,\n")
    now = [START]
    classifier = stand_in()
    with DecisionLog(classifier, log, clock=lambda: now[0]):

        def run(hour: int, **scores: float) -> None:
            now[0] = START + 3600 * hour
            for name, score in scores.items():
                classifier.decide(images(score)[0], name)

        run(0, a=0.1, P1=0.9, C1=0.1)
        first = challenge(pieces, records, log, clock=lambda: now[0])
        run(1, b=0.1, c=0.9, d=0.2)
        run(2, P1=0.1, C1=0.1)
        second = challenge(pieces, records, log, clock=lambda: now[0])
        run(3, e=0.1, C1=0.1)
        third = challenge(pieces, records, log, clock=lambda: now[0])
    assert first.passed
    assert first.held is None
    assert not second.passed
    assert second.held is not None
    assert second.held.since == first.time
    assert second.held.accepted == 4  # b, d and both pieces
    assert second.held.first_item == "b"
    assert third.pieces[0].seen is None  # P1 was not seen again
    assert third.held.since == first.time
    stored = [json.loads(line) for line in records.read_text().splitlines()]
    assert [one["passed"] for one in stored] == [True, False, False]


def test_what_pieces_prove_is_exact() -> None:
    for found, missed in ((59, 0), (299, 0), (20, 1)):
        pieces = [Piece(str(n), "defect", "reject") for n in range(found)]
        pieces += [Piece(f"missed {n}", "defect", "accept") for n in range(missed)]
        proven = Challenge("", (*pieces, Piece("c", "clean", "accept")), None).proven_recall
        assert proven == pytest.approx(beta.ppf(0.05, found, missed + 1), abs=1e-9)


def test_bad_tables_are_named_line_by_line(tmp_path) -> None:
    (tmp_path / "pieces.csv").write_text("piece,expected,seen\n,defekt,bin\n")
    with pytest.raises(InputError) as caught:
        challenge(tmp_path / "pieces.csv", tmp_path / "records.jsonl")
    assert len(caught.value.problems) == 4
    assert not (tmp_path / "records.jsonl").exists()
    (tmp_path / "records.jsonl").write_text("nonsense\n")
    with pytest.raises(InputError, match=r"records.jsonl:1: must be the record"):
        challenge(tmp_path / "pieces.csv", tmp_path / "records.jsonl")
