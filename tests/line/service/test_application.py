from __future__ import annotations

import asyncio
import json
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.requests import ClientDisconnect
from starlette.testclient import TestClient

from drupe.deployment.watcher import Examined
from drupe.line.log.lines import log_files
from drupe.line.log.writer import LogError
from drupe.line.service import desk as desk_module
from drupe.line.service import requests
from drupe.line.service.application import Limits, service_application
from drupe.line.service.guard import Tokens
from drupe.web import own_hosts
from service_files import grey, png, raw_headers

LANES = {0.1: "accept", 0.5: "review", 0.9: "reject"}


def logged(folder: Path) -> list[dict]:
    """Return what the log says of items."""
    lines = b"".join(path.read_bytes() for _, path in log_files(folder)).splitlines()
    return [one for one in map(json.loads, lines) if "item" in one]


def is_review(response, code: int, words: str = "") -> bool:
    said = response.json()
    return (
        response.status_code == code
        and said["lane"] == "review"
        and response.headers["drupe-lane"] == "review"
        and words in (said["fault"] or "")
    )


@pytest.mark.parametrize("brightness", LANES)
def test_a_file_and_its_raw_pixels_get_the_same_lane(served, brightness) -> None:
    one = served()
    image = grey(brightness)
    direct = one.desk.classifier.examine(image)
    for response in (
        one.decide(png(image), Item="piece 7"),
        one.client.post(
            "/now/decide",
            content=image.tobytes(),
            headers={**raw_headers(image), "Drupe-Item": "p"},
        ),
    ):
        said = response.json()
        assert response.status_code == 200
        assert said["lane"] == response.headers["drupe-lane"] == LANES[brightness]
        assert said["score"] == pytest.approx(float(direct.scores[0]))
        assert said["bundle"] == one.desk.classifier.digest
        assert said["fault"] is None
    assert [item["item"] for item in logged(one.settings.log / "now")][-2:] == ["piece 7", "p"]


def test_a_batch_lists_its_images_and_has_the_lane_of_the_worst(served) -> None:
    one = served()
    images = np.stack([grey(brightness) for brightness in LANES])
    response = one.client.post(
        "/decide", content=images.tobytes(), headers={**raw_headers(images), "Drupe-Item": "run"}
    )
    said = response.json()
    assert (response.status_code, said["lane"]) == (200, "reject")
    assert [image["item"] for image in said["images"]] == ["run/0", "run/1", "run/2"]
    assert [image["lane"] for image in said["images"]] == list(LANES.values())
    parts = {f"file{place}": (f"{place}.png", png(grey(0.1))) for place in range(2)}
    said = one.client.post("/decide", files=parts).json()
    assert [image["item"] for image in said["images"]] == ["0.png", "1.png"]
    assert said["lane"] == "accept"


def test_an_unreadable_image_of_a_batch_is_reviewed_and_the_others_decided(served) -> None:
    one = served()
    parts = {"a": ("a.png", png(grey(0.1))), "b": ("b.png", b"no image")}
    response = one.client.post("/decide", files=parts)
    said = response.json()
    assert (response.status_code, said["lane"]) == (422, "review")
    assert [image["lane"] for image in said["images"]] == ["accept", "review"]
    assert said["images"][1]["fault"].startswith("not a PNG")
    lines = logged(one.settings.log / "now")
    assert {(line["item"], line["lane"]) for line in lines} == {
        ("a.png", "accept"),
        ("b.png", "review"),
    }


def test_a_frame_that_looks_like_nothing_known_is_decided_review(served, monkeypatch) -> None:
    class AllOdd:
        def faults(self, batch):
            return ["looks odd"] * len(batch)

    one = served()
    monkeypatch.setattr(one.desk.classifier, "frames", AllOdd())
    response = one.decide(png(grey(0.1)))
    assert is_review(response, 200, "looks odd")
    assert response.json()["score"] is None


@pytest.mark.parametrize(
    ("content", "headers", "code", "words"),
    [
        (b"", {}, 400, "empty"),
        (b"no image", {}, 422, "not a PNG"),
        (png(grey(0.1))[:-20], {}, 422, "truncated"),
        (png(np.zeros((8, 8, 3), np.uint8)), {}, 422, "must be 16 x 16 pixels"),
        (b"x" * 768, {"Drupe-Shape": "16,16,3"}, 400, "Drupe-Dtype"),
        (b"x" * 2000, {}, 413, "1,000 bytes at most"),
        (png(grey(0.1)), {"Content-Encoding": "gzip"}, 415, "Content-Encoding"),
        (png(grey(0.1)), {"Drupe-Item": "x" * 300}, 400, "Drupe-Item"),
        (png(grey(0.1)), {"Drupe-Deadline-Ms": "0"}, 400, "Drupe-Deadline-Ms"),
        (png(grey(0.1)), {"Drupe-Deadline-Ms": "soon"}, 400, "Drupe-Deadline-Ms"),
    ],
)
def test_what_is_no_image_is_reviewed_with_a_reason(served, content, headers, code, words) -> None:
    one = served(limits=Limits(most_bytes=1000))
    assert is_review(one.client.post("/decide", content=content, headers=headers), code, words)
    assert [line["lane"] for line in logged(one.settings.log / "now")] == ["review"]


def test_other_addresses_and_methods_are_no_accept(served) -> None:
    one = served()
    assert is_review(one.client.get("/decide"), 405)
    assert is_review(one.client.get("/nowhere"), 404)
    assert is_review(one.client.post("/other/decide", content=b"x"), 404, "one of: now")
    assert is_review(one.client.post("/decide/", content=b"x"), 404)


def test_of_several_bundles_each_has_its_address(served, bundles) -> None:
    named = {"top": bundles / "now.bundle", "side": bundles / "next.bundle"}
    one = served(bundles=named)
    assert one.decide(png(grey(0.25)), "/top/decide").json()["lane"] == "accept"
    assert one.decide(png(grey(0.25)), "/side/decide").json()["lane"] == "review"
    assert is_review(one.decide(png(grey(0.1))), 404, "one of: top, side")
    figures = one.client.get("/metrics").text
    assert 'drupe_images_total{lane="accept",model="top"} 1.0' in figures
    assert 'drupe_serve_answers_total{code="200",lane="review",model="side"} 1.0' in figures


class Slow:
    """A graph that waits until it is let go."""

    def __init__(self, session) -> None:
        self.session, self.go, self.begun = session, threading.Event(), threading.Event()

    def outputs(self, images):
        self.begun.set()
        self.go.wait(20)
        return self.session.outputs(images)


def slowed(one) -> Slow:
    slow = Slow(one.desk.classifier._session)
    one.desk.classifier._session = slow
    return slow


def test_a_late_decision_is_review_and_the_log_says_so_last(served) -> None:
    one = served()
    slow = slowed(one)
    response = one.decide(png(grey(0.1)), Item="late", Deadline_Ms="50")
    assert is_review(response, 504, "in time")
    slow.go.set()
    one.desk._pool.shutdown()
    lines = logged(one.settings.log / "now")
    assert [(line["lane"], line["fault"]) for line in lines] == [
        ("accept", None),
        ("review", "answered late"),
    ]


def test_a_decision_is_late_also_where_the_loop_had_no_time_to_look(served, monkeypatch) -> None:
    one = served()
    awaited = asyncio.wrap_future

    async def slowly(pending):
        verdict = await awaited(pending)
        time.sleep(0.3)
        return verdict

    monkeypatch.setattr(asyncio, "wrap_future", slowly)
    assert is_review(one.decide(png(grey(0.1)), Deadline_Ms="250"), 504)
    assert logged(one.settings.log / "now")[-1]["fault"] == "answered late"


def test_types_and_p_values_are_told_where_the_bundle_tells_them(served, monkeypatch) -> None:
    def examined(batch, items=None):
        lanes = np.array(["accept", "reject"])
        scores, types = np.array([0.1, np.nan]), np.array(["", "stem"])
        return Examined(scores, lanes, [None, None], types, np.array([0.04, 0.5]))

    one = served()
    monkeypatch.setattr(one.desk.classifier, "examine_ready", examined)
    images = np.stack([grey(0.1), grey(0.9)])
    said = one.client.post("/decide", content=images.tobytes(), headers=raw_headers(images)).json()
    assert [image["type"] for image in said["images"]] == ["", "stem"]
    assert said["images"][0]["p_value"] == 0.04
    assert "p_value" not in said["images"][1]  # it has no score
    document = one.client.get("/openapi.json").json()
    assert set(said["images"][0]) <= set(
        document["components"]["schemas"]["Decision"]["properties"]
    )


def test_what_was_late_before_it_was_begun_is_never_decided(served) -> None:
    one = served(workers=1)
    slow = slowed(one)
    threads = [
        threading.Thread(target=one.decide, args=[png(grey(0.1))], kwargs={"Deadline_Ms": "200"})
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    slow.go.set()
    one.desk._pool.shutdown()
    lanes = [line["lane"] for line in logged(one.settings.log / "now")]
    assert sorted(lanes) == ["accept", "review", "review"]


def test_one_request_too_many_is_review(served) -> None:
    one = served(places=1)
    slow = slowed(one)
    first = threading.Thread(target=one.decide, args=[png(grey(0.1))])
    first.start()
    assert slow.begun.wait(10)
    response = one.decide(png(grey(0.1)))
    assert is_review(response, 503, "all 1 places are taken")
    assert response.headers["retry-after"] == "1"
    slow.go.set()
    first.join()
    assert one.decide(png(grey(0.1))).json()["lane"] == "accept"


def test_a_decision_that_can_not_be_logged_does_not_go_out(served, monkeypatch) -> None:
    one = served()
    with monkeypatch.context() as patched:

        def full(*_):
            raise LogError("the disk is full")

        patched.setattr(one.desk._log, "_write", full)
        assert is_review(one.decide(png(grey(0.1))), 503, "the disk is full")
        assert is_review(one.client.get("/readyz"), 503, "now")
        assert is_review(one.decide(b""), 400)
    assert one.decide(png(grey(0.1))).json()["lane"] == "accept"
    assert one.client.get("/readyz").status_code == 200


def test_a_mistake_of_ours_is_review_without_its_traceback(served, caplog) -> None:
    class Broken:
        def outputs(self, images):
            raise RuntimeError("secret inside")

    one = served()
    one.desk.classifier._session = Broken()
    response = one.decide(png(grey(0.1)), Item="x")
    assert is_review(response, 500, "a mistake in the service")
    assert "secret" not in response.text
    assert "RuntimeError: secret inside" in caplog.text
    assert logged(one.settings.log / "now")[-1]["lane"] == "review"


def test_a_mistake_outside_a_decision_is_review_too(served, monkeypatch) -> None:
    one = served()
    monkeypatch.setattr(one.desk, "place", lambda: 1 / 0)
    assert is_review(one.decide(png(grey(0.1))), 500, "a mistake in the service")


def test_a_decision_that_never_ends_is_ill_health(served, monkeypatch) -> None:
    one = served()
    assert one.client.get("/healthz").json() == {"status": "ok"}
    slow = slowed(one)
    monkeypatch.setattr(desk_module, "STUCK_SECONDS", 0.01)
    assert is_review(one.decide(png(grey(0.1)), Deadline_Ms="50"), 504)
    assert is_review(one.client.get("/healthz"), 503, "doesn't end")
    slow.go.set()


@pytest.mark.parametrize(
    ("never", "words"), [(TimeoutError, "in time"), (ClientDisconnect, "went away")]
)
def test_a_body_that_does_not_arrive_is_review(served, monkeypatch, never, words) -> None:
    async def read(*_):
        if never is TimeoutError:
            await asyncio.sleep(10)
        raise never

    one = served()
    monkeypatch.setattr(requests, "read_body", read)
    response = one.decide(png(grey(0.1)), Deadline_Ms="50", Item="x")
    assert is_review(response, 408, words)
    assert [line["lane"] for line in logged(one.settings.log / "now")] == ["review"]


def test_the_token_is_needed_for_all_that_is_decided(served) -> None:
    one = served(tokens=Tokens("decide-decide-decide"))
    for path in ("/decide", "/now/decide", "/metrics", "/nowhere"):
        response = one.client.request("POST" if "decide" in path else "GET", path)
        assert is_review(response, 401, "a token is needed")
        assert response.headers["www-authenticate"] == "Bearer"
    wrong = {"Authorization": "Bearer decide-decide-decidE"}
    assert one.client.post("/decide", content=png(grey(0.1)), headers=wrong).status_code == 401
    right = {"Authorization": "bearer decide-decide-decide"}
    response = one.client.post("/decide", content=png(grey(0.1)), headers=right)
    assert response.json()["lane"] == "accept"
    for path in ("/", "/api.css", "/openapi.json", "/healthz", "/readyz"):
        response = one.client.get(path)
        assert response.status_code == 200
        assert "default-src 'none'" in response.headers["content-security-policy"]
    assert is_review(one.client.get("/admin/now", headers=right), 403, "nothing can be changed")


def test_other_sites_pages_are_not_answered(served) -> None:
    one = served()
    for headers in (
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
    ):
        assert is_review(one.client.post("/decide", content=b"x", headers=headers), 403)
    own = {"Origin": "http://testserver"}
    assert one.client.post("/decide", content=png(grey(0.1)), headers=own).status_code == 200


def test_without_a_token_another_hosts_name_is_not_answered(served) -> None:
    one = served()
    desks, successions = one.service
    here = service_application(desks, successions, Limits(), Tokens(), own_hosts(8180))
    client = TestClient(here)
    assert is_review(client.get("/healthz"), 421)
    assert client.get("/healthz", headers={"Host": "127.0.0.1:8180"}).status_code == 200


def test_only_http_is_answered(served) -> None:
    one = served()
    told = []
    asyncio.run(one.client.app({"type": "websocket", "path": "/decide"}, None, told.append))
    assert told == []


SHAPES = st.text("0123456789,x -", max_size=20) | st.sampled_from(["16,16,3", "1,16,16,3"])
WORDS = st.sampled_from(["uint8", "uint16", "rgb", "bgr", "mono", "", "16", "x"])
TYPES = st.sampled_from(
    ["", "image/png", "multipart/form-data", "multipart/form-data; boundary=b", "text/plain"]
)
BODIES = st.binary(max_size=900) | st.binary(max_size=60).map(
    lambda part: (
        b'--b\r\nContent-Disposition: form-data; filename="x"\r\n\r\n' + part + b"\r\n--b--"
    )
)
WHOLE = png(grey(0.1))
CUT = st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(1, 255)).map(
    lambda pair: WHOLE[: pair[0]] + bytes([WHOLE[pair[0]] ^ pair[1]]) + WHOLE[pair[0] + 1 :]
)


QUICK = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@QUICK
@given(body=BODIES | CUT, shape=st.none() | SHAPES, dtype=WORDS, order=WORDS, content_type=TYPES)
def test_no_broken_body_is_accepted_or_upsets_the_service(
    shared, body, shape, dtype, order, content_type
) -> None:
    headers = {"Content-Type": content_type, "Drupe-Dtype": dtype, "Drupe-Order": order}
    headers |= {} if shape is None else {"Drupe-Shape": shape}
    response = shared.client.post("/decide", content=body, headers=headers)
    said = response.json()
    assert response.status_code in (200, 400, 413, 422)
    assert "Traceback" not in response.text
    if response.status_code != 200:
        assert said["lane"] == response.headers["drupe-lane"] == "review"
    elif shape is None:  # a changed bit that Pillow reads is the same picture: its metadata
        assert body != WHOLE
        assert said["lane"] == "accept"
