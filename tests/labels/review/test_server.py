from __future__ import annotations

import http.client
import json
from urllib.parse import urlsplit

import pytest

from drupe.errors import InputError
from drupe.labels.review.answers import answers_file, read_answers
from drupe.labels.review.queue import order_for
from drupe.labels.review.server import new_token
from drupe.web import listening_socket
from review_files import small_queue


class Client:
    def __init__(self, where: str) -> None:
        self.parts = urlsplit(where)

    def ask(self, path: str, body=None, *, whole=False, **headers):
        """Return (status, headers, content); ``path`` below the token unless it is the whole."""
        connection = http.client.HTTPConnection("127.0.0.1", self.parts.port, timeout=20)
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if body is not None:
            sent = {"Origin": f"http://{self.parts.netloc}"} | sent
            body = body if isinstance(body, bytes) else json.dumps(body).encode()
        target = path if whole else f"{self.parts.path}{path}"
        connection.request("GET" if body is None else "POST", target, body, sent)
        response = connection.getresponse()
        content = response.read()
        connection.close()
        return response.status, dict(response.getheaders()), content


@pytest.fixture
def review(tmp_path, serve):
    queue = small_queue(tmp_path / "crops")
    with serve(queue, tmp_path / "crops", tmp_path) as where:
        yield queue, Client(where), tmp_path


def test_a_review_over_http(review) -> None:
    queue, client, folder = review
    order = order_for(queue, "ann")
    for count, showing in enumerate(order):
        _, _, content = client.ask("state")
        state = json.loads(content)
        assert (state["answered"], state["showing"]) == (count, showing.id)
        assert client.ask("end")[0] == 404
        status, headers, content = client.ask(f"picture/{showing.id}")
        assert (status, headers["content-type"]) == (200, "image/png")
        assert content.startswith(b"\x89PNG")
        for name in state["strip"]:
            assert client.ask(f"picture/{name}")[0] == 200
        posted = {"showing": showing.id, "judgement": "good", "type": "", "seconds": 0.5}
        status, _, content = client.ask("answer", posted)
        assert status == 200
        assert json.loads(content)["answered"] == count + 1
        assert len(read_answers(answers_file(folder, "ann"), queue)) == count + 1
    assert json.loads(client.ask("end")[2])["looks"] == len(order)
    assert json.loads(client.ask("undo", {})[2])["showing"] == order[-1].id


def test_every_answer_carries_the_policy(review) -> None:
    _, client, _ = review
    for path in ("", "state", "view.js", "review.css", "absent", "picture/absent"):
        _, headers, content = client.ask(path)
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["cache-control"] == "no-store"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert "access-control-allow-origin" not in headers
        assert b"<script>" not in content


@pytest.mark.parametrize("path", ["/", "/state", "/TOKEN/state", "/../state", "//", "/%00"])
def test_nothing_without_the_token(review, path) -> None:
    _, client, _ = review
    status, _, content = client.ask(path.replace("TOKEN", new_token()), whole=True)
    assert (status, content) == (404, b"nothing here")


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "evil.example:80"},
        {"Host": "[::1"},
        {"Host": ""},
        {"Host": "127.0.0.1:1"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
    ],
)
def test_other_hosts_and_origins_are_refused(review, headers) -> None:
    queue, client, folder = review
    showing = order_for(queue, "ann")[0].id
    client.ask(f"picture/{showing}")
    posted = {"showing": showing, "judgement": "good", "type": "", "seconds": 0.5}
    for status, _, content in (
        client.ask("state", **headers),
        client.ask("answer", posted, **headers),
    ):
        assert status in (403, 421)
        assert queue.items[0].path.encode() not in content
    assert read_answers(answers_file(folder, "ann"), queue) == ()


def test_an_answer_without_an_origin_is_refused(review) -> None:
    queue, client, _ = review
    posted = {"showing": order_for(queue, "ann")[0].id, "judgement": "bad", "seconds": 0.5}
    assert client.ask("answer", posted, Origin="")[0] == 403
    assert client.ask("answer", posted)[0] == 200


@pytest.mark.parametrize(
    "path",
    [
        "picture/..%2f..%2fqueue.json",
        "picture/%2e%2e/queue.json",
        "picture//etc/passwd",
        "queue.json",
        "answers/ann.jsonl",
        "alone.js",
        "..%2fpage.py",
        "picture/pit%2fimg_0.png",
    ],
)
def test_nothing_but_what_is_shown_is_served(review, path) -> None:
    _, client, _ = review
    assert client.ask(path)[0] == 404


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        b'{"showing": 1, "judgement": "good", "seconds": 1}',
        b'{"showing": "x", "judgement": "good", "seconds": NaN}',
        b'{"showing": "x", "judgement": "good", "seconds": 1, "more": 2}',
        b'{"showing": "' + b"x" * 5000 + b'"}',
    ],
)
def test_what_is_no_answer_is_refused(review, body) -> None:
    _, client, _ = review
    assert client.ask("answer", body)[0] == 400


def test_an_answer_out_of_turn_is_a_conflict(review) -> None:
    queue, client, _ = review
    later = order_for(queue, "ann")[2].id
    posted = {"showing": later, "judgement": "good", "type": "", "seconds": 0.5}
    assert client.ask("answer", posted)[0] == 409
    assert client.ask("answer", posted | {"showing": order_for(queue, "ann")[0].id})[0] == 409
    first = posted | {"showing": order_for(queue, "ann")[0].id, "judgement": "fine"}
    assert client.ask("answer", first)[0] == 400


def test_a_changed_picture_is_gone(review) -> None:
    queue, client, folder = review
    showing = order_for(queue, "ann")[0]
    (folder / "crops" / queue.items[showing.item].path).write_bytes(b"<svg onload=alert(1)>")
    status, headers, content = client.ask(f"picture/{showing.id}")
    assert status == 410
    assert headers["content-type"].startswith("text/plain")
    assert b"svg" not in content


def test_a_taken_port_is_one_message() -> None:
    with listening_socket(0) as first:
        first.listen()
        with pytest.raises(InputError, match="--port: must be free, got"):
            listening_socket(first.getsockname()[1])
