from __future__ import annotations

import errno
import hashlib
import json
import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from drupe.deployment.watcher import Examined
from drupe.errors import InputError
from drupe.line.log.lines import log_files
from drupe.line.log.verify import verify_log
from drupe.line.log.writer import DecisionLog, LogError
from line_stand_in import FUNCTION, images, stand_in


def lines_of(folder: Path) -> list[dict]:
    """Return all complete lines: a process that is killed may leave a part of one."""
    contents = (path.read_bytes() for _, path in log_files(folder))
    return [json.loads(line) for content in contents for line in content.split(b"\n")[:-1]]


def test_a_line_says_who_decided_what_of_which_pixels_and_when(tmp_path) -> None:
    classifier = stand_in()
    image = images(0.5)[0]
    with DecisionLog(classifier, tmp_path, clock=lambda: 1_795_000_000.25):
        assert classifier.decide(image, items='a "quoted" näme') == "review"
    opened, decision, closed = lines_of(tmp_path)
    assert [opened["kind"], decision["kind"], closed["kind"]] == ["opened", "decision", "closed"]
    assert [opened["n"], decision["n"], closed["n"]] == [1, 2, 3]
    first = (tmp_path / "decisions-00000001.jsonl").read_bytes().splitlines()
    assert decision == {
        "kind": "decision",
        "n": 2,
        "time": "2026-11-18T11:06:40.250000Z",
        "item": 'a "quoted" näme',
        "pixels": hashlib.sha256(image.tobytes()).hexdigest(),
        "score": float(np.float32(128 / 255)),
        "lane": "review",
        "fault": None,
        "function": "onnxruntime fp32",
        "certificate": FUNCTION.certificate_id,
        "bundle": "d" * 64,
        "previous": hashlib.sha256(first[0]).hexdigest(),
    }


def test_a_bundle_that_knows_distances_has_its_p_values_logged(tmp_path) -> None:
    scores = np.array([0.25, np.nan, 0.75], np.float32)
    lanes, faults = np.array(["accept", "review", "reject"]), [None, "black", None]
    with DecisionLog(stand_in(), tmp_path) as log:
        p_values = np.array([1 / 3, 0.5, 0.005])
        log.saw(images(0.25, 0, 0.75), Examined(scores, lanes, faults, None, p_values), None, 0.0)
        log.saw(images(0.25, 0, 0.75), Examined(scores, lanes, faults), None, 0.0)
    told = lines_of(tmp_path)[1:-1]
    assert [one.get("p_value", "none") for one in told] == [1 / 3, "none", 0.005, *["none"] * 3]
    assert verify_log(tmp_path).problems == []


def test_batches_faults_and_errors_are_logged_too(tmp_path) -> None:
    class OddSecond:
        def faults(self, batch):
            return [None, "doesn't look right"]

    classifier = stand_in(frames=OddSecond())
    with DecisionLog(classifier, tmp_path):
        assert classifier.decide(images(0.1, 0.9), ["a", "b"]).tolist() == ["accept", "review"]
        with pytest.raises(InputError, match="must be uint8"):
            classifier.decide(np.zeros((3, 3, 3), np.uint8), "c")
        with pytest.raises(InputError, match="items: must name each of the 2 images, got 1"):
            classifier.examine(images(0.1, 0.9), ["a"])
    said = [
        (one["item"], one.get("score"), one["lane"], one["fault"])
        for one in lines_of(tmp_path)[1:-1]
    ]
    assert said[0] == ("a", pytest.approx(0.1, abs=0.01), "accept", None)
    assert said[1] == ("b", None, "review", "doesn't look right")
    assert said[2][:3] == ("c", None, None)
    assert "must be uint8" in said[2][3]
    assert said[3][0] == "a"
    assert "must name each" in said[3][3]


def test_threads_write_one_chain(tmp_path) -> None:
    classifier = stand_in()
    with DecisionLog(classifier, tmp_path, lines_per_file=50):
        workers = [
            threading.Thread(target=lambda: [classifier.decide(images(0.2)[0]) for _ in range(100)])
            for _ in range(4)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    found = verify_log(tmp_path)
    assert found.problems == found.notes == []
    assert found.files > 8
    assert sum(one["kind"] == "decision" for one in lines_of(tmp_path)) == 400


def test_one_process_at_a_time_and_none_that_was_forked(tmp_path) -> None:
    classifier = stand_in()
    log = DecisionLog(classifier, tmp_path)
    with pytest.raises(InputError, match="another process writes this decision log"):
        DecisionLog(stand_in(), tmp_path)
    child = os.fork()
    if child == 0:
        try:
            classifier.decide(images(0.2)[0])
        except LogError as error:
            os._exit(0 if "belongs to the process" in str(error) else 1)
        os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    log.close()
    with pytest.raises(LogError, match="is closed"):
        classifier.decide(images(0.2)[0])
    assert verify_log(tmp_path).problems == []


def test_a_decision_that_can_not_be_logged_does_not_go_out(tmp_path, monkeypatch) -> None:
    classifier = stand_in()
    with DecisionLog(classifier, tmp_path) as log:
        classifier.decide(images(0.1)[0])
        write = os.write

        def refusing(file, content):
            monkeypatch.setattr(os, "write", no_space)
            return write(file, content[:50])

        def no_space(file, content):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(os, "write", refusing)
        with pytest.raises(LogError, match="No space left on device"):
            classifier.decide(images(0.1)[0])
        with pytest.raises(LogError, match="No space left on device"):
            classifier.decide(images(0.1)[0])
        monkeypatch.setattr(os, "write", write)
        assert classifier.decide(images(0.1)[0]) == "accept"
        assert log.lines == 5  # three openings, two decisions
    found = verify_log(tmp_path)
    assert found.problems == []
    assert len(found.notes) == 2


@pytest.mark.thorough
def test_killed_at_100_random_moments_nothing_that_went_out_is_missing(tmp_path) -> None:
    random = np.random.default_rng(0)
    seen = 0
    for _ in range(100):
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reader)
            try:
                classifier = stand_in()
                DecisionLog(classifier, tmp_path, lines_per_file=1000, sync_seconds=0.002)
                while True:
                    classifier.decide(images(0.2)[0])
                    os.write(writer, b".")
            finally:
                os._exit(1)
        os.close(writer)
        os.read(reader, 1)
        time.sleep(random.uniform(0, 0.02))
        os.kill(child, signal.SIGKILL)
        assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
        seen += 1
        while more := os.read(reader, 65536):
            seen += len(more)
        os.close(reader)
    found = verify_log(tmp_path)
    assert found.problems == []
    decisions = sum(one["kind"] == "decision" for one in lines_of(tmp_path))
    assert seen <= decisions <= seen + 100  # one may be killed after its line, before it is seen
    unclean = [one for one in found.notes if "without being closed" in str(one)]
    assert 90 <= len(unclean) <= 100  # a few are killed while a file is closed and begun


@pytest.mark.thorough
def test_after_a_power_cut_at_most_the_unsynced_tail_is_missing(tmp_path) -> None:
    random = np.random.default_rng(1)
    for trial in range(40):
        folder = tmp_path / str(trial)
        child = os.fork()
        if child == 0:
            classifier = stand_in()
            log = DecisionLog(classifier, folder, sync_seconds=100)
            for number in range(30):
                classifier.decide(images(0.2)[0], str(number))
                if number == 14:
                    log.sync()
            os._exit(0)
        os.waitpid(child, 0)
        path = folder / "decisions-00000001.jsonl"
        content = path.read_bytes()
        synced = len(b"".join(content.splitlines(keepends=True)[:16]))
        path.write_bytes(content[: random.integers(synced, len(content))])
        found = verify_log(folder)
        assert found.problems == []
        assert len(found.notes) == 1
        classifier = stand_in()
        DecisionLog(classifier, folder).close()
        assert verify_log(folder).problems == []
        cut = content[: random.integers(0, synced - 1)]
        path.write_bytes(cut)
        assert verify_log(folder).problems


def test_lines_that_were_synced_and_are_gone_stay_known(tmp_path) -> None:
    classifier = stand_in()
    with DecisionLog(classifier, tmp_path):
        classifier.decide(images(0.2, 0.3, 0.4))
    path = tmp_path / "decisions-00000001.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:3]))
    DecisionLog(stand_in(), tmp_path).close()
    problems = verify_log(tmp_path).problems
    assert [str(one) for one in problems] == [
        "decisions-00000002.jsonl:1: 2 lines that the head stated were missing before it"
    ]


def test_a_damaged_end_is_refused(tmp_path) -> None:
    DecisionLog(stand_in(), tmp_path).close()
    (tmp_path / "decisions-00000001.jsonl").write_bytes(b"nonsense\n")
    with pytest.raises(InputError, match="its last line is damaged"):
        DecisionLog(stand_in(), tmp_path)
    DecisionLog(stand_in(), tmp_path / "new").close()  # the lock was let go


@pytest.mark.parametrize("key", [b"short", "absent.key"])
def test_bad_keys_are_refused(tmp_path, key) -> None:
    with pytest.raises(InputError, match=r"must have at least 16 bytes|can't be read"):
        DecisionLog(stand_in(), tmp_path, key=key)


def test_another_classifier_is_followed_in_a_new_file(tmp_path) -> None:
    before, after = stand_in(), stand_in()
    after.digest = "e" * 64
    with DecisionLog(before, tmp_path) as log:
        before.decide(images(0.1)[0], items="a")
        log.follow(after)
        before.decide(images(0.1)[0], items="not logged any more")
        after.decide(images(0.9)[0], items="b")
        log.follow(before)
        before.decide(images(0.1)[0], items="c")
        after.decide(images(0.1)[0], items="not logged any more")
    lines = lines_of(tmp_path)
    said = [(one["item"], one["bundle"][0]) for one in lines if one["kind"] == "decision"]
    assert said == [("a", "d"), ("b", "e"), ("c", "d")]
    assert [one["bundle"][0] for one in lines if one["kind"] == "opened"] == ["d", "e", "d"]
    check = verify_log(tmp_path)
    assert (check.problems, check.notes) == ([], [])


def test_where_no_file_can_be_begun_the_one_so_far_is_followed(tmp_path, monkeypatch) -> None:
    before, after = stand_in(), stand_in()
    after.digest = "e" * 64
    with DecisionLog(before, tmp_path) as log:

        def full(*_):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with monkeypatch.context() as patched:
            patched.setattr(log, "_append", full)
            with pytest.raises(LogError, match="no new file can be begun"):
                log.follow(after)
        after.decide(images(0.9)[0], items="not logged")
        before.decide(images(0.1)[0], items="a")
        log.follow(after)
        after.decide(images(0.9)[0], items="b")
    said = [(one["item"], one["bundle"][0]) for one in lines_of(tmp_path) if "item" in one]
    assert said == [("a", "d"), ("b", "e")]
    assert verify_log(tmp_path).problems == []


def test_a_process_that_goes_elsewhere_logs_where_it_began(tmp_path, monkeypatch) -> None:
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    classifier = stand_in()
    log = DecisionLog(classifier, "log")
    monkeypatch.chdir(tmp_path / "there")
    classifier.decide(images(0.5))
    log.close()
    assert list((tmp_path / "there").iterdir()) == []
    assert (tmp_path / "here" / "log" / "head.json").exists()
