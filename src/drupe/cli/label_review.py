"""``drupe labels review``: a page on which a person judges pictures without knowing the label."""

from __future__ import annotations

from contextlib import suppress
from getpass import getuser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import typer

from drupe.cli.console import print_line, stderr
from drupe.cli.options import STORE, Defect, Good, Store, examples
from drupe.errors import InputError
from drupe.workbench.progress_display import progress_on

if TYPE_CHECKING:
    from collections.abc import Sequence

    from drupe.labels.review.pictures import ReviewPictures
    from drupe.labels.review.preparation import ReviewedData
    from drupe.labels.review.queue import ReviewQueue, Showing

EXAMPLES = examples(
    "drupe labels review RUN/labels.csv --out review",
    "drupe labels review RUN/labels.csv --out review --reviewer ann --type pit --type stem",
    "drupe labels review crops --out review --controls 300   random pictures alone",
    "drupe labels review week46/crops.csv --out review       those that a table names",
    "drupe labels review week-48 --out review-48             what the line has kept",
    "drupe labels review week-48 --out review-48 --controls 500 --choose active",
    "drupe labels review RUN/labels.csv --out review --reviewer eve --third-look",
    "drupe labels review RUN/labels.csv --out review --html for-bob.html --reviewer bob",
)

SUSPECTS = CONTROLS = 100
"""Pictures of each kind that a review of a dataset shows, where nobody says otherwise."""

Source = Annotated[
    Path,
    typer.Argument(
        metavar="DATA|RANKING",
        help="A folder or table of crops, a ranking of them, or what the line has kept.",
    ),
]
Out = Annotated[
    Path, typer.Option(metavar="DIR", help="The review's folder: its queue, and all answers.")
]
Data = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Where the ranked crops lie, or lie now.")
]
Reviewer = Annotated[
    str | None, typer.Option(metavar="NAME", help="Who looks; default the user's name.")
]
Suspects = Annotated[
    int | None,
    typer.Option(metavar="N", min=0, help="Most suspect pictures of the ranking to show; 100."),
]
Controls = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=0,
        help="Others, drawn at random in each split and class; 100, or all that the line has kept.",
    ),
]
Choose = Annotated[
    Literal["alike", "active"],
    typer.Option(
        help="active: of what the line accepted, rather what the score doubts; N on average.",
    ),
]
Repeats = Annotated[
    int, typer.Option(metavar="N", min=0, help="Pictures to show twice: is the reviewer steady?")
]
Splits = Annotated[
    list[str] | None, typer.Option("--split", metavar="NAME", help="Only of these splits.")
]
Types = Annotated[
    list[str] | None,
    typer.Option("--type", metavar="NAME", help="Kinds of defects to choose from."),
]
Seed = Annotated[int, typer.Option(metavar="N", min=0, help="Of the random controls.")]
ThirdLook = Annotated[
    bool, typer.Option("--third-look", help="Show what two other reviewers disagree on.")
]
Port = Annotated[
    int, typer.Option(metavar="N", min=0, max=65535, help="On 127.0.0.1; 0: any that is free.")
]
NoOpen = Annotated[bool, typer.Option("--no-open", help="Start no browser; print the address.")]
Html = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Write the page as one file that needs no server."),
]


def review(
    source: Source,
    out: Out,
    data: Data = None,
    reviewer: Reviewer = None,
    suspects: Suspects = None,
    controls: Controls = None,
    choose: Choose = "alike",
    repeats: Repeats = 20,
    split: Splits = None,
    kinds: Types = None,
    seed: Seed = 0,
    third_look: ThirdLook = False,
    port: Port = 0,
    no_open: NoOpen = False,
    html: Html = None,
    defect: Defect = None,
    good: Good = None,
    store: Store = STORE,
) -> None:
    """Judge pictures in the browser, blind: label and score are hidden to the end.

    Every answer is kept at once; the same command goes on where it was stopped (Ctrl-C).
    """
    from drupe.labels.review.answers import check_reviewer, read_all_answers
    from drupe.labels.review.pictures import ReviewPictures
    from drupe.labels.review.preparation import open_queue, ranking_digest, reviewed_data
    from drupe.labels.review.queue import ReviewRequest, order_for
    from drupe.labels.review.votes import third_look as disputed

    name = _user() if reviewer is None else reviewer
    check_reviewer(name)
    reviewed = reviewed_data(source, data)
    _check_choice(choose, reviewed, controls)
    asked = _asked(reviewed, suspects, controls, split, defect, good)
    root, ranking, naming, kept = asked.data
    request = ReviewRequest(
        ranking=ranking_digest(ranking),
        splits=tuple(split or ()),
        suspects=asked.suspects,
        controls=asked.controls,
        repeats=repeats,
        seed=seed,
        types=tuple(dict.fromkeys(kinds or ())),
        choose=choose,
    )
    sizes = kept.sizes if kept else None
    queue = open_queue(
        out, root, ranking, request, store, naming=naming, lanes=sizes, progress=progress_on()
    )
    if third_look:
        order = disputed(queue, read_all_answers(out, queue), name)
    else:
        order = order_for(queue, name)
    pictures = ReviewPictures.of(root, naming)
    if html is None:
        _serve(queue, order, name, pictures, out, port, no_open, third_look)
    else:
        _write_page(queue, order, name, pictures, html, third_look)


class _Asked(NamedTuple):
    data: ReviewedData
    suspects: int
    controls: int


def _asked(
    data: ReviewedData,
    suspects: int | None,
    controls: int | None,
    split: list[str] | None,
    defect: str | None,
    good: list[str] | None,
) -> _Asked:
    """Return what is to be shown, with what nobody said filled in.

    Raises:
        InputError: what would make of the line's pictures no random sample, or is known of them.
    """
    from drupe.data.naming import Naming

    if data.kept is None:
        if defect or good:
            data = data._replace(naming=Naming(defect, tuple(good or ())))
        most = (SUSPECTS if suspects is None else suspects) if data.ranking else 0
        return _Asked(data, most, CONTROLS if controls is None else controls)
    for option, value in (("--split", split), ("--defect", defect), ("--good", good)):
        if value:
            raise InputError(f"{option}: doesn't go with pictures that the line has kept")
    if suspects:
        raise InputError(
            f"--suspects: must be 0 for pictures that the line has kept, got {suspects}: they are "
            "a random sample; --controls says how many to show"
        )
    whole = sum(lane.kept for lane in data.kept.lanes.values())
    return _Asked(data, 0, whole if controls is None else controls)


def _check_choice(choose: str, data: ReviewedData, controls: int | None) -> None:
    if choose == "active" and data.kept is None:
        raise InputError(
            f"--choose active: must be of pictures that the line has kept (drupe capture collect), "
            f"got {data.ranking or data.root}"
        )
    if choose == "active" and controls is None:
        raise InputError("--choose active: must go with --controls N, how many are to be looked at")


def _user() -> str:
    try:
        return getuser()
    except (KeyError, OSError):  # a container's user without a name
        raise InputError("--reviewer: must say who looks: the system knows no name") from None


def _write_page(
    queue: ReviewQueue,
    order: Sequence[Showing],
    name: str,
    pictures: ReviewPictures,
    html: Path,
    is_third: bool,
) -> None:
    from drupe.files import check_replaceable, write_text
    from drupe.labels.review.page import lone_page

    check_replaceable(html)
    write_text(html, lone_page(queue, order, name, pictures, progress_on(), is_third=is_third))
    print_line(f"{len(order):,} pictures for {name}: {html}")


def _serve(
    queue: ReviewQueue,
    order: Sequence[Showing],
    name: str,
    pictures: ReviewPictures,
    out: Path,
    port: int,
    no_open: bool,
    is_third: bool,
) -> None:
    import webbrowser

    from drupe.labels.review import server
    from drupe.labels.review.answers import answers_file, open_log, read_answers
    from drupe.labels.review.session import ReviewSession
    from drupe.runs.record import now
    from drupe.web import listening_socket

    listener = listening_socket(port)
    with listener, open_log(out, name) as log:
        given = read_answers(answers_file(out, name), queue)
        session = ReviewSession(queue, order, name, pictures, log, given, now, is_third=is_third)
        token = server.new_token()
        where = server.address(listener, token)
        stderr().print("Stop with Ctrl-C; the same command goes on.", markup=False)
        print_line(where)
        if not no_open:
            webbrowser.open(where)
        with suppress(KeyboardInterrupt):  # the way to stop
            server.review_server(session, listener, token).run(sockets=[listener])
        print_line(f"{session.answered:,} of {len(order):,} pictures answered: {out}")
