from __future__ import annotations

import http.client
import json
import random
import signal
import threading
from pathlib import Path

import pytest

from drupe.labels.ranking import RankedLabel, write_ranking
from drupe.labels.review.answers import answers_file, open_log, read_answers
from drupe.labels.review.queue import order_for, read_queue
from review_files import answer, write_crops
from review_process import ReviewProcess


@pytest.fixture
def crops(tmp_path: Path) -> Path:
    paths = write_crops(tmp_path / "crops", 24)
    rows = [
        RankedLabel(rank, path, "test", path.partition("/")[0], 0.5, 0.1, -0.8, "other class")
        for rank, path in enumerate(paths, 1)
    ]
    write_ranking(tmp_path / "labels.csv", rows)
    return tmp_path / "crops"


REVIEW = ("labels", "review", "labels.csv", "--data", "crops", "--out", "look")
FEW = ("--suspects", "4", "--controls", "6", "--repeats", "2", "--type", "stem")


def say(folder: Path, reviewer: str, turned: int = 0) -> None:
    """Answer everything as labelled, but the first so many items of the queue the other way."""
    queue = read_queue(folder)
    with open_log(folder, reviewer) as log:
        for showing in order_for(queue, reviewer):
            is_clean = queue.items[showing.item].label == "clean"
            says = "good" if is_clean != (showing.item < turned) else "defect"
            log.append(answer(queue, showing.id, says, reviewer))


def test_from_a_review_to_labels_and_back(quick, crops, tmp_path) -> None:
    page = quick(*REVIEW, *FEW, "--html", "bob.html", "--reviewer", "bob")
    assert page.code == 0, page.stderr
    assert page.stdout == "12 pictures for bob: bob.html\n"
    say(tmp_path / "look", "ann", turned=2)
    say(tmp_path / "look", "bob", turned=1)

    planned = quick("labels", "apply", "look", "--dry-run", columns=200)
    assert planned.code == 0, planned.stderr
    assert "1 relabelled" in planned.stdout
    assert "1 undecided" in planned.stdout
    assert "Cohen's kappa" in planned.stdout
    assert "random controls stand for" in planned.stdout
    assert "don't pass" in planned.stdout
    assert "nothing was written: --dry-run" in planned.stdout

    third = quick(*REVIEW, *FEW, "--third-look", "--html", "eve.html", "--reviewer", "eve")
    assert third.stdout == "1 pictures for eve: eve.html\n"
    document = json.loads(quick("labels", "apply", "look", "--json", "--threshold", "0.4").stdout)
    assert document["written"] is True
    assert document["relabelled"] == 1
    assert [one["cause"] for one in document["changes"]] == ["suspect"]
    assert len(document["quality"]["pairs"]) == 1
    assert document["rates"]["recall"]["estimate"] == 1.0
    assert document["noise"][-1]["items"] == 24

    history = json.loads(quick("labels", "history", "crops", "--json").stdout)["revisions"]
    assert [one["relabelled"] for one in history] == [0, 1]
    listed = json.loads(quick("data", "fixes", "crops", "--json").stdout)["honoured"]
    assert listed[0]["origin"]["reviewers"] == ["ann", "bob"]
    back = quick("labels", "history", "crops", "--back-to", "original", columns=200)
    assert back.code == 0, back.stderr
    assert "back to 0" in back.stdout
    assert "0 relabelled" in quick("data", "fixes", "crops").stdout


def test_a_table_is_reviewed_and_mended(quick, crops, tmp_path) -> None:
    lines = [
        f"crops/{path.parent.name}/{path.name};{path.parent.name}"
        for path in sorted(crops.rglob("*.png"))
    ]
    (tmp_path / "week46.csv").write_text("\n".join(["path;label", *lines]) + "\n")
    words = ("labels", "review", "week46.csv", "--out", "look", "--controls", "99")
    page = quick(*words, "--html", "ann.html", "--reviewer", "ann")
    assert page.code == 0, page.stderr
    assert page.stdout == "36 pictures for ann: ann.html\n"
    say(tmp_path / "look", "ann", turned=2)
    done = json.loads(quick("labels", "apply", "look", "--json").stdout)
    assert (done["folder"], done["relabelled"]) == (str(tmp_path / "week46.csv"), 2)
    listed = json.loads(quick("data", "fixes", "week46.csv", "--json").stdout)["honoured"]
    assert {one["origin"]["cause"] for one in listed} == {"all"}
    history = json.loads(quick("labels", "history", "week46.csv", "--json").stdout)["revisions"]
    assert [one["relabelled"] for one in history] == [0, 2]


def test_wrong_input_is_one_message(quick, crops) -> None:
    for arguments, words in (
        (("labels", "review", "absent", "--out", "x"), "got nothing there"),
        (("labels", "review", "labels.csv", "--out", "x"), "--data DIR"),
        ((*REVIEW, "--reviewer", "a\nb"), "--reviewer: must be a name"),
        ((*REVIEW, "--third-look", "--reviewer", "eve"), "needs the answers of two reviewers"),
        (("labels", "apply", "crops"), "must be the folder of a review"),
        (("labels", "apply", "look"), "must hold answers"),
        (("labels", "apply", "look", "--threshold", "3"), "--threshold: must be in"),
        (("labels", "history", "crops", "--back-to", "7"), "must be a revision's number or name"),
        (("threshold", "absent", "--labels", "1"), "--labels: goes with --data"),
        (("train", "fast", "--data", "crops", "--labels", "1"), "must be a revision's number"),
    ):
        refused = quick(*arguments)
        assert refused.code == 2, arguments
        assert words in " ".join(refused.stderr.split()), arguments


def test_ctrl_c_ends_and_the_same_command_goes_on(crops, tmp_path) -> None:
    first = ReviewProcess(tmp_path, *REVIEW, *FEW)
    for _ in range(3):
        first.look_and_say()
    first.process.send_signal(signal.SIGINT)
    said, _ = first.process.communicate(timeout=30)
    assert first.process.returncode == 0
    assert said == "3 of 12 pictures answered: look\n"
    second = ReviewProcess(tmp_path, *REVIEW, *FEW)
    assert second.where != first.where
    assert (second.state["answered"], second.state["seconds_left"]) == (3, 9.0)
    second.process.kill()
    second.process.communicate()


@pytest.mark.thorough
def test_killed_20_times_at_random_no_answer_is_lost(crops, tmp_path) -> None:
    options = ("--suspects", "0", "--controls", "24", "--repeats", "12")
    chance = random.Random(1)
    acknowledged: list[str] = []
    kills = 0
    while kills < 20:
        served = ReviewProcess(tmp_path, *REVIEW, *options)
        assert served.state["answered"] >= len(acknowledged)
        if served.state["showing"] is None:
            for name in (tmp_path / "look" / "answers").iterdir():
                name.unlink()
            acknowledged.clear()
            served.process.kill()
            served.process.communicate()
            continue
        timer = threading.Timer(chance.uniform(0.0, 0.08), served.process.kill)
        timer.start()
        while served.state["showing"] is not None:
            showing = served.state["showing"]
            try:
                served.look_and_say()
            except (OSError, ValueError, http.client.HTTPException):
                break
            acknowledged.append(showing)
        timer.join()
        served.process.communicate()
        kills += 1
        queue = read_queue(tmp_path / "look")
        kept = read_answers(answers_file(tmp_path / "look", "ann"), queue)
        said = [one.showing for one in kept]
        # An answer may be kept whose receipt never arrived, never the other way round.
        assert set(acknowledged) <= set(said)
        assert said == [one.id for one in order_for(queue, "ann")][: len(said)]
