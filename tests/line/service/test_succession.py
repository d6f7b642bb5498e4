from __future__ import annotations

import json
import shutil
import threading
from dataclasses import replace

import numpy as np
import pytest

from drupe.errors import InputError
from drupe.line.log.verify import verify_log
from drupe.line.log.writer import LogError
from drupe.line.service.process import opened
from drupe.line.service.turnstile import NeverAloneError, Turnstile
from line.service.conftest import ADMIN, Served
from service_files import brightness_bundle, grey, png


def compared(one: Served, *brightness: float) -> dict:
    """Decide images, and return how the candidate compares once all are counted."""
    for value in brightness:
        one.decide(png(grey(value)))
    shadow = one.desk.shadow
    shadow._pool.submit(lambda: None).result(10)  # whatever was offered before is counted then
    return shadow.to_json()


def refused(response, words: str) -> bool:
    return response.status_code == 409 and words in response.json()["fault"]


def test_a_candidate_is_compared_on_live_frames_and_then_decides(served) -> None:
    one = served()
    before = one.desk.classifier.digest
    assert one.change("propose", bundle="next.bundle").status_code == 200
    found = compared(one, 0.1, 0.25, 0.5, 0.9)
    assert (found["compared"], found["turned"], found["failed"]) == (4, 2, 0)
    assert found["turns"] == {"accept>review": 1, "review>reject": 1}
    assert 'kind="turned",model="now"} 2.0' in one.client.get("/metrics").text
    assert refused(one.change("switch"), "compared on 100 frames, got 4")
    assert refused(one.change("switch", frames=4), "may turn 0 decisions, turned 2")
    assert refused(one.change("switch", frames=4, turned=1), "1 accept>review, 1 review>reject")
    said = one.change("switch", frames=4, turned=2).json()
    assert said["path"].endswith("next.bundle")
    assert said["previous"].endswith("now.bundle")
    assert said["candidate"] is None
    assert said["bundle"] != before
    assert one.decide(png(grey(0.25))).json()["lane"] == "review"
    assert one.decide(png(grey(0.25))).json()["bundle"] == said["bundle"]
    back = one.change("bring-back").json()
    assert back["bundle"] == before
    assert back["previous"].endswith("next.bundle")
    assert one.decide(png(grey(0.25))).json()["lane"] == "accept"
    check = verify_log(one.settings.log / "now")
    assert (check.problems, check.files) == ([], 3)
    assert len(list(one.settings.monitor.iterdir())) == 2


def test_pictures_are_kept_of_each_bundle_apart(served, tmp_path) -> None:
    one = served(capture=tmp_path / "pictures", monitor=None)
    digests = [one.desk.classifier.digest[:16]]
    one.decide(png(grey(0.5)))
    one.decide(b"no image")
    one.change("propose", bundle="next.bundle")
    digests.append(one.change("switch", frames=0).json()["bundle"][:16])
    one.decide(png(grey(0.25)))
    one.decide(png(grey(0.25)))
    one.desk.close()
    folders = tmp_path / "pictures" / "now"
    assert [len(list((folders / one).glob("*/*.npy"))) for one in digests] == [1, 2]


def test_where_pictures_are_kept_by_another_nothing_stays_open(served, tmp_path) -> None:
    one = served(capture=tmp_path / "pictures", monitor=None, log=None)
    with pytest.raises(InputError, match="another process captures here"):
        served(capture=tmp_path / "pictures", monitor=None)
    with pytest.raises(InputError, match="another process captures here"):
        one.desk.change(one.desk.classifier)
    assert one.decide(png(grey(0.1))).json()["lane"] == "accept"


def test_a_restart_goes_on_with_the_bundle_that_was_switched_to(served, bundles) -> None:
    one = served(log=None, monitor=None)
    one.change("propose", bundle="same.bundle")
    said = one.change("switch", frames=0).json()
    with opened(one.settings) as service:
        assert service.desks["now"].classifier.digest == said["bundle"]
        assert service.successions["now"].status()["previous"].endswith("now.bundle")
    other = replace(one.settings, bundles={"now": bundles / "next.bundle"})
    with opened(other) as service:  # another bundle is given: that one counts
        assert service.successions["now"].status()["path"].endswith("next.bundle")
    state = json.loads(one.settings.state.read_text())
    state["bundles"]["now"]["digest"] = "f" * 64
    one.settings.state.write_text(json.dumps(state))
    with (
        pytest.raises(InputError, match="must be the bundle that was switched to"),
        opened(one.settings),
    ):
        pass
    one.settings.state.write_text("{}" * 2)
    with pytest.raises(InputError, match="not valid JSON"), opened(one.settings):
        pass


def test_without_a_state_a_switch_does_not_last(served) -> None:
    one = served(state=None)
    one.change("propose", bundle="same.bundle")
    assert one.change("switch", frames=0).json()["lasting"] is False


@pytest.mark.parametrize(
    ("bundle", "words"),
    [
        ("none.bundle", "there is no such folder"),
        ("../now.bundle", "must be the name of a folder beside now.bundle"),
        ("..", "must be the name of a folder"),
        ("", "must be the name of a folder"),
        ("/etc", "must be the name of a folder"),
        ("now.bundle", "must be another bundle, got the one in force"),
        ("turned.bundle", "doesn't decide as where it was made"),
        ("others.bundle", "classes: must be ('clean', 'pit') as in the bundle in force"),
    ],
)
def test_a_candidate_that_may_not_follow_is_refused(served, bundle, words) -> None:
    one = served()
    assert refused(one.change("propose", bundle=bundle), words)
    assert one.desk.shadow is None
    assert refused(one.change("switch", frames=0), "there is no candidate")


def test_a_changed_candidate_is_refused(served, bundles, tmp_path) -> None:
    for name in ("now", "next"):
        shutil.copytree(bundles / f"{name}.bundle", tmp_path / f"{name}.bundle")
    graph = tmp_path / "next.bundle" / "fp32.onnx"
    graph.write_bytes(graph.read_bytes() + b"x")
    one = served(bundles={"now": tmp_path / "now.bundle"})
    assert refused(one.change("propose", bundle="next.bundle"), "changed since the bundle was made")
    shutil.rmtree(tmp_path / "next.bundle")
    brightness_bundle(tmp_path / "next.bundle")
    assert one.change("propose", bundle="next.bundle").status_code == 200
    one.change("switch", frames=0)
    shutil.rmtree(tmp_path / "now.bundle")
    assert refused(one.change("bring-back"), "there is no such folder")


def test_a_candidate_without_golden_scores_here_is_refused(served, monkeypatch) -> None:
    from drupe.line.service import succession

    one = served()
    monkeypatch.setattr(succession, "verify_bundle", lambda path, threads: [])
    assert refused(one.change("propose", bundle="next.bundle"), "could not be verified here")


def test_a_candidate_that_fails_or_comes_too_slowly_is_told_and_not_taken(served) -> None:
    one = served(bundles=served().settings.bundles, log=None, monitor=None, state=None)
    one.change("propose", bundle="same.bundle")

    class Broken:
        def outputs(self, images):
            raise RuntimeError

    one.desk.shadow.candidate._session = Broken()
    assert compared(one, 0.1)["failed"] == 1
    assert refused(one.change("switch", frames=0), "1 frames had no score")
    one.change("propose", bundle="same.bundle")
    one.desk.shadow._waiting = 100
    assert compared(one, 0.1)["skipped"] == 1
    shadow = one.desk.shadow
    assert one.change("withdraw").json()["candidate"] is None
    shadow.offer(
        grey(0.1)[None], np.array(["accept"])
    )  # a decision that was being made meanwhile: counted, and no more
    assert shadow.to_json()["skipped"] == 2


def test_a_switch_that_can_not_be_logged_changes_nothing(served, monkeypatch) -> None:
    one = served()
    before = one.desk.classifier.digest
    one.change("propose", bundle="next.bundle")
    with monkeypatch.context() as patched:

        def full(*_):
            raise LogError("the disk is full")

        patched.setattr(one.desk._log, "follow", full)
        assert refused(one.change("switch", frames=0), "the disk is full")
    assert one.desk.classifier.digest == before
    assert one.decide(png(grey(0.25))).json()["lane"] == "accept"
    assert json.loads(one.settings.state.read_text())["bundles"]["now"]["digest"] == before
    assert refused(one.change("switch", frames=0), "there is no candidate")


def test_a_switch_that_can_not_be_kept_changes_nothing(served, tmp_path) -> None:
    one = served()
    one.change("propose", bundle="next.bundle")
    (tmp_path / "state.json").mkdir()
    assert refused(one.change("switch", frames=0), "Is a directory")
    assert one.decide(png(grey(0.25))).json()["lane"] == "accept"


def test_two_changes_at_once_are_refused(served) -> None:
    one = served()
    succession = one.service.successions["now"]
    with succession._one_at_a_time():
        assert refused(one.change("propose", bundle="next.bundle"), "another change")
    assert refused(one.change("bring-back"), "there was no bundle before")


def test_orders_must_be_as_described(served) -> None:
    one = served()
    for content in (
        b"",
        b"{}",
        b"[]",
        b'{"bundle": 1}',
        b'{"bundle": "x", "more": 1}',
        b"x" * 5000,
    ):
        response = one.client.post("/admin/now/propose", content=content, headers=ADMIN)
        assert response.status_code == 400
    assert one.change("switch", turned=-1).status_code == 400
    assert one.client.post("/admin/other/switch", headers=ADMIN).status_code == 404
    assert one.client.get("/admin/now").status_code == 401
    assert one.client.get("/admin/now", headers=ADMIN).json()["name"] == "now"


def test_no_decision_is_lost_or_doubled_by_switches(served) -> None:
    one = served(workers=2)
    answers: list[tuple[str, str, str]] = []
    is_over = threading.Event()

    def ask(client: int) -> None:
        number = 0
        while not is_over.is_set():
            response = one.decide(png(grey(0.25)), Item=f"{client}-{number}")
            said = response.json()
            answers.append((said["item"], said["lane"], said.get("bundle", "")))
            number += 1

    threads = [threading.Thread(target=ask, args=[client]) for client in range(3)]
    for thread in threads:
        thread.start()
    for name in ("next", "now", "next"):
        assert one.change("propose", bundle=f"{name}.bundle").status_code == 200
        assert one.change("switch", frames=0, turned=10**6).status_code == 200
    is_over.set()
    for thread in threads:
        thread.join()
    lane_of = {"next": "review", "now": "accept"}
    digests = {bundle: lane for _, lane, bundle in answers}
    assert sorted(digests.values()) == sorted(lane_of.values())
    assert {(lane, bundle) for _, lane, bundle in answers} == {
        (lane, bundle) for bundle, lane in digests.items()
    }
    seen: list[tuple[str, str, str]] = []

    def keep(line: dict) -> None:
        if "item" in line:
            seen.append((line["item"], line["lane"], line["bundle"]))

    assert verify_log(one.settings.log / "now", each=keep).problems == []
    assert sorted(seen) == sorted(answers)


def test_nobody_is_inside_while_one_is_alone() -> None:
    turnstile = Turnstile(patience=0.05)
    with turnstile.among_others(), turnstile.among_others(), pytest.raises(NeverAloneError) as late:
        turnstile.alone().__enter__()
    assert "hasn't ended for 0.05 s" in str(late.value)
    with turnstile.alone():
        with pytest.raises(NeverAloneError, match="another change"):
            turnstile.alone().__enter__()
        entered = threading.Event()

        def enter() -> None:
            with turnstile.among_others():
                entered.set()

        thread = threading.Thread(target=enter)
        thread.start()
        assert not entered.wait(0.05)
    assert entered.wait(10)
    thread.join()
