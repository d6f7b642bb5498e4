"""What an export's functions say of types of defects, beside what the tested network says.

A type describes what isn't accepted. It isn't certified, but a graph that says others than PyTorch
does in fp32 is wrong.

Letters: n distinct test defects, G golden samples, T types.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from drupe.deployment.backends import Images, Scores, Session, open_session
from drupe.deployment.bundle import golden_types
from drupe.deployment.evidence import Evidence
from drupe.deployment.functions import FunctionSpec
from drupe.deployment.gate import BATCH, GateError
from drupe.deployment.manifest import TypeAgreement, TypeOutput
from drupe.evaluation.grouping import first_of_each_group
from drupe.models.ensemble import AnyNetwork
from drupe.models.type_head import FeatureTap, TypeHead
from drupe.progress import Progress

LARGEST_DIFFERENCE = 0.01
"""Of a type's score in fp32 from PyTorch's; rounding gives a thousandth of it."""


@dataclass(frozen=True)
class ExportedTypes:
    """The types that a bundle tells, and each function's golden scores of them.

    golden: float32 [G, T] under the name that they have in the golden samples' file.
    """

    output: TypeOutput
    golden: Mapping[str, Scores]


def compare_types(
    specs: Sequence[FunctionSpec],
    graphs: Mapping[str, bytes],
    network: AnyNetwork,
    head: TypeHead | None,
    evidence: Evidence,
    golden: Images,
    threads: int | None,
    progress: Progress,
) -> ExportedTypes | None:
    """Run every function on the distinct test defects and on the ``golden`` samples.

    None where the network has no type ``head``.

    Raises:
        GateError: a function in fp32 gives other scores than the tested network.
    """
    if head is None:
        return None
    images, types = _test_defects(evidence)
    # Networks are trained on RGB; ordering twice is no order.
    expected = network_types(network, head, evidence.contract.ordered(images))
    agreements, kept = {}, {}
    for spec in specs:
        session = open_session(graphs[spec.graph], spec.backend, spec.precision, threads)
        found = _scores(session, images, progress, f"{spec.name}: types")
        agreements[spec.name] = agreement(head.names, types, expected, found)
        off = agreements[spec.name].max_score_difference
        if spec.is_fp32 and not off <= LARGEST_DIFFERENCE:
            raise GateError(
                f"{spec.name}: scores of types differ from those of the tested network by up to "
                f"{off:.2g}: nothing was exported"
            )
        kept[golden_types(spec.name)] = session.outputs(golden)[1]
    return ExportedTypes(TypeOutput(names=head.names, functions=agreements), kept)


def _test_defects(evidence: Evidence) -> tuple[Images, list[str]]:
    """Return the distinct test defects as the graph takes them, and their types."""
    split = evidence.model.test
    assert split is not None
    table = split.table
    crops = next(one for one in evidence.splits if one.name == "test")
    items = first_of_each_group(table.paths, split.groups, table.is_defect)
    items = items[table.is_defect[items]]
    types = table.types or ("",) * len(table)
    return crops.images[items], [types[item] for item in items]


@torch.inference_mode()
def network_types(network: AnyNetwork, head: TypeHead, images: Images) -> NDArray[np.float32]:
    """Return what PyTorch says of types, float32 [n, T], of raw RGB images."""
    with FeatureTap(network, head.linear) as tap:
        for start in range(0, len(images), BATCH):
            network.defect_logit(torch.from_numpy(images[start : start + BATCH]))
    scores: NDArray[np.float32] = head.scores(tap.take(len(images))).numpy()
    return scores


def _scores(session: Session, images: Images, progress: Progress, what: str) -> Scores:
    parts = []
    with progress(what, len(images), "images") as tracker:
        for start in range(0, len(images), BATCH):
            batch = np.ascontiguousarray(images[start : start + BATCH])
            parts.append(session.outputs(batch)[1])
            tracker.advance(len(batch))
    return np.concatenate(parts)


def agreement(
    names: Sequence[str], types: Sequence[str], expected: Scores, found: Scores
) -> TypeAgreement:
    """Count how often two functions' scores [n, T] say the same, and ``found`` what is true.

    ``types`` [n]: of each defect, '' where it isn't known.
    """
    said = [names[place] for place in found.argmax(1)]
    return TypeAgreement(
        images=len(found),
        same=int((expected.argmax(1) == found.argmax(1)).sum()),
        max_score_difference=float(np.abs(expected - found).max(initial=0)),
        typed=sum(bool(one) for one in types),
        right=sum(bool(one) and one == answer for one, answer in zip(types, said, strict=True)),
    )
