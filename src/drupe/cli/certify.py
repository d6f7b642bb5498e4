"""``drupe certify``: anyone's classifier in an ONNX file, as a scored run and a bundle."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from drupe.cli.console import print_json, print_line, print_note, print_prose
from drupe.cli.export import Backends, ChannelOrder
from drupe.cli.options import (
    STORE,
    Datasets,
    Defect,
    Good,
    Group,
    Json,
    Store,
    Threads,
    examples,
    naming_keys,
    one_dataset,
)
from drupe.errors import InputError
from drupe.workbench.progress_display import progress_on

if TYPE_CHECKING:
    from drupe.deployment.certify.certification import GraphCertification, JudgedGraph
    from drupe.deployment.certify.options import GraphOptions
    from drupe.deployment.export import Exported
    from drupe.runs.graph_record import GraphRecord
    from drupe.sides import Size

EXAMPLES = examples(
    "drupe certify best.onnx crops --scale imagenet --unseen --out their.bundle",
    "drupe certify best.onnx crops --scale 0..1 --trained-on files.txt --out their.bundle",
    "drupe certify best.onnx crops --scale 0..255 --order bgr --apply softmax \\",
    "    --positive-index 1 --unseen --out their.bundle",
    "drupe certify best.onnx crops --scale 0.5/0.5 --size 224 --set data.sizes=resize \\",
    "    --set calibration.holdout=0.9 --unseen --out their.bundle",
)


class GraphLayout(StrEnum):
    """The order of the axes of a graph's input."""

    nchw = "nchw"
    nhwc = "nhwc"


class Activation(StrEnum):
    """What makes probabilities of a graph's outputs."""

    sigmoid = "sigmoid"
    softmax = "softmax"
    none = "none"


Model = Annotated[
    Path, typer.Argument(metavar="MODEL.onnx", help="A classifier, all in one ONNX file.")
]
Out = Annotated[Path, typer.Option(metavar="BUNDLE", help="New directory for the bundle.")]
RunOut = Annotated[
    Path | None,
    typer.Option(
        "--run",
        metavar="RUN",
        help="Run directory for scores; default STORE/runs/certify/NAME-DIGEST.",
    ),
]
Scale = Annotated[
    str | None,
    typer.Option(
        metavar="RANGE",
        help="How pixels were scaled in training: 0..1, 0..255, -1..1, imagenet, or MEAN/STD of "
        "pixels in 0..1 such as 0.5/0.25 (of bytes: 0..255:MEAN/STD). Asked for unless the file "
        "tells.",
    ),
]
Order = Annotated[
    ChannelOrder | None,
    typer.Option(help="Of the channels that the network takes; rgb is assumed unless told."),
]
Layout = Annotated[
    GraphLayout | None, typer.Option(help="Of the input, where its shape doesn't tell.")
]
SizeOption = Annotated[
    str | None,
    typer.Option(
        "--size", metavar="PIXELS", help="Side, or HEIGHTxWIDTH, where the graph takes any."
    ),
]
Output = Annotated[
    str | None, typer.Option(metavar="NAME", help="Which output decides, where there are several.")
]
Apply = Annotated[
    Activation | None,
    typer.Option(
        help="What makes probabilities of the outputs. Found where the graph ends in softmax or "
        "sigmoid, else logits are assumed."
    ),
]
Positive = Annotated[
    str | None,
    typer.Option(
        metavar="I[,J]",
        help="Which outputs, from 0, mean a defect; of one output, 0: it means a clean item. "
        "Of two, the sorted order of the class folders is assumed.",
    ),
]
TrainedOn = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="List of the training files, as for drupe import --trained-on."
    ),
]
Unseen = Annotated[
    bool,
    typer.Option(
        "--unseen", help="You vouch that it has learnt from none of these crops, nor from copies."
    ),
]
PickedOnTest = Annotated[
    bool,
    typer.Option("--picked-on-test", help="Its epoch was picked on val/: figures are optimistic."),
]
MinRecall = Annotated[
    float, typer.Option(metavar="R", help="Share of defects that must be caught.")
]
Confidence = Annotated[float, typer.Option(metavar="C", help="With which that must hold.")]
Name = Annotated[
    str | None, typer.Option(metavar="NAME", help="Of the run; without it, the file's.")
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Keys of data and calibration: data.sizes=resize, calibration.holdout=0.9.",
    ),
]


def certify(
    model: Model,
    dirs: Datasets,
    out: Out,
    run: RunOut = None,
    scale: Scale = None,
    order: Order = None,
    layout: Layout = None,
    size: SizeOption = None,
    output: Output = None,
    apply: Apply = None,
    positive_index: Positive = None,
    trained_on: TrainedOn = None,
    unseen: Unseen = False,
    picked_on_test: PickedOnTest = False,
    min_recall: MinRecall = 0.99,
    confidence: Confidence = 0.95,
    settings: Settings = None,
    defect: Defect = None,
    good: Good = None,
    group: Group = None,
    backend: Backends = None,
    name: Name = None,
    threads: Threads = None,
    store: Store = STORE,
    as_json: Json = False,
) -> None:
    """Certify anyone's ONNX classifier: score crops, prove a threshold, write a bundle.

    What the file doesn't tell is asked for or assumed by a rule, and said. Needs drupe[train]. Exit
    code 1: nothing is certified, or a runtime decides otherwise than the file.
    """
    from drupe.configuration import merge, parse_overrides
    from drupe.deployment.bundle import require_new
    from drupe.deployment.certify.certification import CertifyRequest, GraphCertification
    from drupe.evaluation.operating_point import Request

    require_new(out)
    given: dict[str, Any] = {"root": str(one_dataset(dirs, store))}
    given |= naming_keys(defect, good, group)
    request = CertifyRequest(
        model=model,
        said=_options(scale, order, layout, size, output, apply, positive_index),
        settings=merge(parse_overrides(settings or []), {"data": given}),
        trained_on=trained_on,
        unseen=unseen,
        picked_on_test=picked_on_test,
        name=name,
        asked=Request(min_recall, confidence),
        backends=tuple(backend) if backend else None,
        threads=threads,
    )
    begun = GraphCertification.begin(request, store, progress=progress_on())
    judged = begun.judge(store, run)
    if not as_json:
        _print_facts(begun, judged)
    _tell_data(judged)
    done, refused = _deliver(begun, judged, out)
    _answer(judged, done, refused, as_json)
    if judged.point.certificate is None or done is None:
        raise typer.Exit(1)


def _options(
    scale: str | None,
    order: ChannelOrder | None,
    layout: GraphLayout | None,
    size: str | None,
    output: str | None,
    apply: Activation | None,
    positive: str | None,
) -> GraphOptions:
    from drupe.deployment.certify.options import GraphOptions

    return GraphOptions(
        output=output,
        layout=None if layout is None else "NCHW" if layout is GraphLayout.nchw else "NHWC",
        size=_size(size),
        order=order.value if order else None,
        scale=scale,
        apply=apply.value if apply else None,
        positive=_places(positive),
    )


def _size(text: str | None) -> Size | None:
    from drupe.sides import simplest

    if text is None:
        return None
    sides = text.lower().split("x")
    if not (1 <= len(sides) <= 2 and all(one.isascii() and one.isdigit() for one in sides)):
        raise InputError(f"--size: must be PIXELS or HEIGHTxWIDTH such as 224, got {text!r}")
    return simplest([int(one) for one in (*sides, *sides)[:2]])


def _places(text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    words = [one.strip() for one in text.split(",")]
    if not all(one.isascii() and one.isdigit() for one in words):
        raise InputError(f"--positive-index: must be I or I,J, counted from 0, got {text!r}")
    return tuple(sorted({int(one) for one in words}))


def _deliver(
    begun: GraphCertification, judged: JudgedGraph, out: Path
) -> tuple[Exported | None, str | None]:
    from drupe.deployment.gate import GateError

    try:
        return begun.deliver(judged, out, progress=progress_on()), None
    except GateError as error:
        return None, str(error)


def _print_facts(begun: GraphCertification, judged: JudgedGraph) -> None:
    graph, classes = begun.scored.facts, begun.data.dataset.classes
    print_line(f"{begun.file.path}: ONNX operators {graph.opset}", style="bold")
    for name, value, origin in fact_rows(graph, classes):
        style = "yellow" if origin.startswith("assumed") else ""
        print_prose(f"  {name:<9} {value} ({origin})", style, indent=" " * 12)
    if graph.freed:
        print_note("it was written for one image at a time: its axis N was opened, and checked")
    print_line("")
    print_line(f"Run: {judged.run}")


def fact_rows(graph: GraphRecord, classes: tuple[str, str]) -> list[tuple[str, str, str]]:
    """Return what a graph takes and gives: the fact's name, what it is taken as, its origin."""
    from drupe.sides import in_words

    pixel = "uint8" if graph.scale is None else "float32"
    places = " + ".join(map(str, graph.positive))
    means = f"output {places} is {classes[1]}"
    if graph.outputs == 1:
        means = f"the output is {classes[graph.positive[0]]}"
    origins = graph.origins
    return [
        ("input", f"{graph.input}, {pixel}, {graph.layout}", origins["layout"]),
        ("size", in_words(graph.size), origins["size"]),
        ("channels", graph.channels, origins["channels"]),
        ("scale", graph.scale.words if graph.scale else "bytes as they are", origins["scale"]),
        ("output", f"{graph.output}, {graph.outputs} for each image", origins["output"]),
        ("apply", graph.apply, origins["apply"]),
        ("defect", means, origins["positive"]),
    ]


def _tell_data(judged: JudgedGraph) -> None:
    from drupe.cli.evaluation import print_data, print_skipped
    from drupe.cli.importing import warn_of_order

    print_skipped(judged.record.data.skipped)
    print_data(judged.record)
    said = "what the outputs mean (--positive-index), and --scale and --order"
    warn_of_order(judged.evaluation.auroc, said)


def _answer(judged: JudgedGraph, done: Exported | None, refused: str | None, as_json: bool) -> None:
    from drupe.cli.console import print_error
    from drupe.cli.export import print_exported
    from drupe.cli.operating_point import print_operating_point
    from drupe.evaluation.next_steps import next_steps

    if refused:
        print_error(refused)
    if as_json:
        print_json(
            {
                "run": str(judged.run),
                "imported": judged.imported.model_dump(mode="json"),
                "threshold": judged.point.to_json(),
                "bundle": done.to_json() if done else None,
                "refused": refused,
            }
        )
        return
    print_operating_point(judged.point, next_steps(judged.point, str(judged.run)))
    if judged.point.model.in_sample:
        print_line("")
        print_line(
            "If it has learnt from none of these crops: --unseen; which it has: --trained-on FILE",
            style="yellow",
        )
    if done:
        print_line("")
        print_exported(done)
