"""Frames that are pushed: each POST is an item, and its answer says where the item goes.

What a request may hold, and who may send one, is as in ``drupe serve``, by the same parts; who
decides is the line, and the answer comes once every sink was told. What is no image, or one too
many, is an item as well: it goes to ``on_fault``, and the sinks are told so.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator
from contextlib import suppress
from queue import Empty, Full, Queue
from threading import Event, Thread
from typing import Any, NamedTuple

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from drupe.data.image_contract import Channels, ImageContract
from drupe.line.service.answers import DECIDED, LATE, MISTAKE, UNREADABLE, UNREADY
from drupe.line.service.bodies import Pixels, RefusedBodyError, named_item, read_frames_of
from drupe.line.service.guard import Tokens, answer, answered, read_token
from drupe.line.service.requests import body_by, seconds_of
from drupe.line.service.server import MOST_CONNECTIONS, guarded_application, web_server
from drupe.line.station.answers import LineAnswer
from drupe.line.station.configuration import HttpSettings, TimingSettings
from drupe.line.station.reasons import reason_of
from drupe.line.station.sources.source import LineItem, SourceError, Unremembered
from drupe.notices import notice
from drupe.web import listening_socket, own_hosts

LOOK_S = 0.1
TOO_LATE = "the line's answer didn't come in time"


class Waiting(NamedTuple):
    """A request that waits for its item's answer, on the server's loop."""

    loop: asyncio.AbstractEventLoop
    answer: asyncio.Future[LineAnswer]

    def settle(self, answer: LineAnswer) -> None:
        """Give it the answer, where it still waits."""
        if not self.answer.done():
            self.answer.set_result(answer)


class HttpSource(Unremembered):
    """Listens for frames that ``contract`` allows; ``timing.queue`` of them may be here at once.

    A further request isn't read: its item is an overrun. ``on_fault``: the lane of what the line
    doesn't answer in time. ``started`` makes the names of nameless items this start's own.

    Raises:
        InputError: a token that can't be read, or could be guessed.
    """

    waits = False

    def __init__(
        self,
        settings: HttpSettings,
        contract: ImageContract,
        timing: TimingSettings,
        on_fault: str,
        started: str,
        now: Callable[[], float],
    ) -> None:
        self._settings, self._contract, self._now = settings, contract, now
        self._seconds, self._places = timing.deadline_ms / 1000, timing.queue
        self._on_fault, self._names = on_fault, f"frame-{started}-"
        self._token = read_token("source.http.token_file", settings.token_file)
        self.name = f"http {settings.host}:{settings.port}"
        self.order: Channels | None = contract.channels
        self.silent_after_s = settings.silent_after_s
        self._arrived: Queue[LineItem] = Queue(MOST_CONNECTIONS)
        self._waiting: dict[int, Waiting] = {}
        self._numbers, self._images = itertools.count(1), 0
        self._server: tuple[uvicorn.Server, Thread] | None = None

    def probe(self) -> str:
        """Listen, and let go."""
        self._listener().close()
        return "can be listened at"

    def items(self, stop: Event) -> Iterator[LineItem | None]:
        """Yield what is pushed, until ``stop``; what has begun is answered even then."""
        listener = self._listener()
        server = web_server(self.application(), self._seconds)
        thread = Thread(
            target=server.run, kwargs={"sockets": [listener]}, name="drupe-http", daemon=True
        )
        self._server = server, thread
        thread.start()
        try:
            yield None  # it listens: a fault from before is over
            while not stop.is_set():
                if not thread.is_alive():
                    raise SourceError("the web server has ended")
                try:
                    found = self._arrived.get(timeout=LOOK_S)
                except Empty:
                    continue
                yield found
        finally:
            server.should_exit = True

    def done(self, found: LineItem, answer: LineAnswer) -> None:
        """Answer the request that pushed the item, where it still waits."""
        waiting = self._waiting.pop(found.stamp, None)
        if waiting is not None:
            with suppress(RuntimeError):  # the server has ended, and nobody waits
                waiting.loop.call_soon_threadsafe(waiting.settle, answer)

    def close(self) -> None:
        """Have the server end, once it has answered what has begun."""
        if self._server is not None:
            server, thread = self._server
            server.should_exit = True
            thread.join()

    def application(self) -> Starlette:
        """Return what answers: ``POST /decide``, and nothing else."""
        hosts = () if self._token else own_hosts(self._settings.port)
        routes = [Route("/decide", self._decide, methods=["POST"])]
        return guarded_application(routes, Tokens(self._token), hosts, "must be POST /decide")

    async def _decide(self, request: Request) -> Response:
        """Hand a request's item to the line, and return what became of it."""
        begun, number = asyncio.get_running_loop().time(), next(self._numbers)
        item, seconds = f"{self._names}{number:08}", self._seconds
        image, refused = None, None
        is_overrun = self._images >= self._places
        self._images += not is_overrun
        try:
            try:
                item = named_item(request.headers, item)
                seconds = seconds_of(request.headers, seconds)
                if is_overrun:
                    late = f"late: {self._places:,} images waited already"
                    raise RefusedBodyError(late, UNREADY)
                image = await self._image(request, item, begun + seconds)
            except RefusedBodyError as error:
                refused = error
            except Exception as error:  # whatever it is: an item all the same, and never accepted
                notice(f"{self.name}: {item}: {reason_of(error)}")
                refused = RefusedBodyError("a mistake of ours", MISTAKE)
            reason = None if refused is None else refused.reason
            found = LineItem(item, image, reason, number, is_overrun)
            return await self._answered(found, refused, begun + seconds)
        finally:
            self._images -= not is_overrun

    async def _image(self, request: Request, item: str, until: float) -> Pixels:
        """Return the one image of a request, [H, W, C] as the graph takes it.

        Raises:
            RefusedBodyError: there is none, or more than one.
        """
        content = await body_by(request, self._settings.max_body_mb << 20, until)
        body = read_frames_of(request.headers, content, self._contract, item, 1)
        if body.is_batch:
            raise RefusedBodyError("must be one image: a file, or raw pixels H,W,C")
        pixels = await run_in_threadpool(body.frames[0].pixels, self._contract)
        if isinstance(pixels, str):
            raise RefusedBodyError(pixels, UNREADABLE)
        return pixels

    async def _answered(
        self, found: LineItem, refused: RefusedBodyError | None, until: float
    ) -> Response:
        """Return the answer that the sinks were told, or that none came ``until`` then."""
        loop = asyncio.get_running_loop()
        waiting = Waiting(loop, loop.create_future())
        self._waiting[found.stamp] = waiting
        try:
            self._arrived.put_nowait(found._replace(until=self._now() + until - loop.time()))
            async with asyncio.timeout_at(until):
                told = await waiting.answer
            if loop.time() > until:  # the loop was too busy to look at its clock
                raise TimeoutError
        except Full:
            return self._none(UNREADY, f"late: {self._arrived.maxsize:,} items wait", found)
        except TimeoutError:
            code, reason = (refused.status, refused.reason) if refused else (LATE, TOO_LATE)
            return self._none(code, reason, found)
        finally:
            self._waiting.pop(found.stamp, None)
        code = refused.status if refused else DECIDED if told.lane == told.decided else UNREADY
        return answered(code, told.to_json(), told.lane)

    def _none(self, code: int, reason: str, found: LineItem) -> Response:
        return answer(code, reason, found.name, self._on_fault)

    def _listener(self) -> Any:
        return listening_socket(self._settings.port, self._settings.host, "source.http.port")
