from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from drupe.labels.review.answers import answers_file, open_log, read_answers
from drupe.labels.review.pictures import ReviewPictures
from drupe.labels.review.queue import ReviewQueue, order_for
from drupe.labels.review.server import address, new_token, review_server
from drupe.labels.review.session import ReviewSession
from drupe.runs.record import now
from drupe.web import listening_socket


@contextmanager
def served(queue: ReviewQueue, root: Path, folder: Path, reviewer: str = "ann") -> Iterator[str]:
    """Serve a review in this process, and yield its address."""
    with listening_socket(0) as listener, open_log(folder, reviewer) as log:
        given = read_answers(answers_file(folder, reviewer), queue)
        order = order_for(queue, reviewer)
        session = ReviewSession(queue, order, reviewer, ReviewPictures(root), log, given, now)
        token = new_token()
        server = review_server(session, listener, token)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        while not server.started:
            time.sleep(0.01)
        try:
            yield address(listener, token)
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture
def serve():
    return served
