"""A trained network's predictions on calibration and test, its temperature, and their counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from drupe.errors import TrainingDivergedError
from drupe.evaluation.document import evaluation_document
from drupe.evaluation.grouping import write_duplicates
from drupe.evaluation.predictions import Predictions, scores_from_logits
from drupe.evaluation.predictions_csv import write_predictions
from drupe.evaluation.temperature import fit_temperature
from drupe.models.ensemble import AnyNetwork
from drupe.models.type_head import FeatureTap, TypeHead, networks_of
from drupe.progress import Progress, silent
from drupe.runs.evaluation_file import Evaluation
from drupe.runs.layout import RunFolder
from drupe.training.image_batches import ImageSource
from drupe.training.preparation import PreparedData

PREDICTION_BATCH = 128


@torch.inference_mode()
def defect_logits(
    network: AnyNetwork, source: ImageSource, items: NDArray[np.intp], progress: Progress, what: str
) -> NDArray[np.float32]:
    """Return z (defect minus clean), float32 [n], of ``items`` from their raw bytes, in fp32."""
    network.eval()
    parts = []
    with progress(what, len(items), "images") as tracker:
        batch = PREDICTION_BATCH // network.geometry.views
        for start in range(0, len(items), batch):
            chosen = items[start : start + batch]
            images, _ = source.batch(chosen)
            parts.append(network.defect_logit(images).float().cpu().numpy())
            tracker.advance(len(chosen))
    return np.concatenate(parts).astype(np.float32, copy=False)


def pooled_features(
    network: AnyNetwork, source: ImageSource, items: NDArray[np.intp], progress: Progress, what: str
) -> tuple[NDArray[np.float32], ...]:
    """Return the features of ``items``, float32 [n, F] of each member, means over views.

    Raises:
        NoFeaturesError: the network has none; see :class:`~drupe.models.type_head.FeatureTap`.
    """
    network.to(memory_format=torch.channels_last)  # raw bytes already lie that way
    with FeatureTap(network, [nn.Identity() for _ in networks_of(network)]) as tap:
        defect_logits(network, source, items, progress, what)
    return tuple(features.numpy() for features in tap.take(len(items)))


@dataclass(frozen=True)
class Judgement:
    """A network's ``predictions`` of each split, the copies among their items, and the figures.

    ``groups``: int32 [n of the split], equal for copies.
    """

    predictions: Mapping[str, Predictions]
    groups: Mapping[str, NDArray[np.int32]]
    evaluation: Evaluation

    def write(self, folder: Path) -> None:
        """Write predictions, copies and ``evaluation.json`` into the run in ``folder``."""
        files = RunFolder(folder)
        files.predictions("calibration").unlink(missing_ok=True)
        for name, table in self.predictions.items():
            write_predictions(files.predictions(name), table)
        write_duplicates(
            files.duplicates,
            {name: (one.paths, self.groups[name]) for name, one in self.predictions.items()},
        )
        self.evaluation.write(folder)


def judge(
    network: AnyNetwork,
    data: PreparedData,
    source: ImageSource,
    folder: Path,
    progress: Progress = silent,
    temperature: float | None = None,
    types: TypeHead | None = None,
) -> Evaluation:
    """Write what :func:`judged` returns into the run in ``folder``; return the evaluation."""
    found = judged(network, data, source, progress, temperature, types)
    found.write(folder)
    return found.evaluation


def judged(
    network: AnyNetwork,
    data: PreparedData,
    source: ImageSource,
    progress: Progress = silent,
    temperature: float | None = None,
    types: TypeHead | None = None,
) -> Judgement:
    """Predict calibration and test, fit the temperature, and count.

    The test split is read here and nowhere else. A run that learnt from all training items has no
    calibration: its temperature stays 1, and what cross-fitting wrote about it is discarded. A
    given ``temperature`` is taken as it is: of a network that has learnt from the calibration
    items, their scores would make a false one. ``types`` says the type of each test item on the
    way; the evaluation counts how often it is right.

    Raises:
        TrainingDivergedError: the network answers with NaN or infinity.
    """
    network.to(memory_format=torch.channels_last)  # raw bytes already lie that way
    with FeatureTap(network, types.to(source.device).linear if types else ()) as tap:
        logits = {
            name: defect_logits(network, source, items, progress, f"predict {name}")
            for name, items in (("calibration", data.split.calibration), ("test", data.split.test))
            if items.size
        }
    if not all(np.isfinite(values).all() for values in logits.values()):
        raise TrainingDivergedError(
            "the trained network answers with NaN or infinity: lower training.learning_rate or "
            "training.weight_decay"
        )
    items = {name: getattr(data.split, name) for name in logits}
    if temperature is None and "calibration" in logits:
        labels = data.dataset.is_defect[items["calibration"]]
        temperature = fit_temperature(logits["calibration"], labels)
    elif temperature is None:
        temperature = 1.0
    predictions = {
        name: predictions_of(
            data, items[name], scores_from_logits(values, temperature), logits=values
        )
        for name, values in logits.items()
    }
    document = evaluation_document(
        calibration=predictions.get("calibration"),
        test=predictions["test"],
        temperature=temperature,
        test_groups=data.groups[data.split.test],
        types_said=_types_said(types, tap, [len(values) for values in logits.values()]),
    )
    groups = {name: data.groups[items[name]] for name in items}
    return Judgement(predictions, groups, Evaluation.model_validate(document))


def _types_said(
    types: TypeHead | None, tap: FeatureTap, sizes: Sequence[int]
) -> tuple[Sequence[str], Sequence[str]] | None:
    """Return the types that can be said, and what is said of each test item: of the last split."""
    if types is None:
        return None
    scores = types.scores(tap.take(sum(sizes)))
    return types.names, types.said(scores[-sizes[-1] :])


def predictions_of(
    data: PreparedData,
    items: NDArray[np.intp],
    scores: NDArray[np.float32],
    *,
    logits: NDArray[np.float32] | None = None,
) -> Predictions:
    """Return what was said of ``items`` (indices), with their paths, labels, types and groups."""
    return Predictions(
        paths=tuple(data.dataset.paths[index] for index in items),
        is_defect=data.dataset.is_defect[items],
        logits=logits,
        scores=scores,
        classes=data.dataset.classes,
        types=_at(data.dataset.types, items),
        groups=_at(data.dataset.origins, items),
    )


def _at(values: tuple[str, ...] | None, items: NDArray[np.intp]) -> tuple[str, ...] | None:
    return None if values is None else tuple(values[index] for index in items)
