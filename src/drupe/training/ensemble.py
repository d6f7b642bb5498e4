"""Finished runs become one model: the mean of their calibrated logits, as a run like any other.

Nothing is trained, and the runs stay as they are. What makes the ensemble's scores of calibration
as good as a single network's is that no member has learnt from any of its items.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drupe.configuration import validate
from drupe.errors import InputError
from drupe.models.ensemble import Ensemble
from drupe.models.network import Network
from drupe.models.type_head import networks_of
from drupe.progress import Progress, silent
from drupe.runs.evaluation_file import Evaluation, read_evaluation
from drupe.runs.record import (
    MemberRecord,
    RunRecord,
    now,
    require_same_data,
    require_same_splits,
)
from drupe.runs.results import digest_results
from drupe.training.claim import check_store, exclusive, find_record
from drupe.training.config import ExperimentConfig, write_config
from drupe.training.distributed import World
from drupe.training.execution import choose_device, set_threads
from drupe.training.image_batches import ImageSource
from drupe.training.judgement import judge
from drupe.training.learnt import read_digests, write_digests
from drupe.training.members import Member, ensemble_identity, item_paths, read_members
from drupe.training.preparation import PreparedData, prepare_data, recorded_config
from drupe.training.run import RunOutcome
from drupe.training.saved import EnsembleMetadata, NetworkMetadata, load_network, save_ensemble
from drupe.training.type_fitting import FittedTypes, joined_types, read_types, write_types

ARCHITECTURE = "ensemble"
"""Stands for the architecture in ``config.yaml``: the members' own are in ``run.json``."""

NOT_USED = {
    "training": True,
    "augmentation": True,
    "input": {"range", "crop", "resolution", "views"},  # each member has its own
}


@dataclass(frozen=True)
class EnsembleRequest:
    """The runs to average, in the order given.

    name: of the experiment. data_root: where the data of the runs lies now, None: where the first
    run says. defect: the defect class, None: as the first run found it.
    """

    runs: tuple[Path, ...]
    name: str
    data_root: Path | None = None
    defect: str | None = None


def make_ensemble(
    request: EnsembleRequest, folder: Path, store: Path, *, progress: Progress = silent
) -> RunOutcome:
    """Judge the mean of finished runs on their calibration and test, and save it as a run.

    Where ``folder`` already holds this ensemble, nothing is done; where it was interrupted, it is
    done again. Until every member has passed every check nothing is written.

    Raises:
        InputError: fewer than two runs, the same one twice, one that can't be a member, runs that
            don't share data and split, or a folder that holds something else.
    """
    check_store(store)
    members = read_members(request.runs)
    with exclusive(folder):
        config = _config(request, members[0])
        data = prepare_data(config, store, progress)
        _require_members_items(config, members[0], data)
        for member in members:
            require_same_splits(member.folder, member.record)
        identity = ensemble_identity(
            [member.weights for member in members], data.dataset.fingerprint
        )
        found = _claim(folder, identity)
        if found and found.status == "done":
            return RunOutcome(folder, read_evaluation(folder), True, data.dataset.skipped)
        network, metadata = _network(members)
        heads = zip(members, networks_of(network), strict=True)
        types = joined_types([read_types(one.folder, own) for one, own in heads])
        record = RunRecord.begin(
            config.name,
            config.seed,
            identity=identity,
            data=data.record,
            crop=None,
            weights=None,
            device=str(choose_device("auto", World())),
            members=tuple(
                _member_record(member, one)
                for member, one in zip(members, metadata.members, strict=True)
            ),
        )
        learnt = frozenset().union(*(read_digests(one.folder) for one in members))
        evaluation = _judge(
            network, metadata, types, record, config, data, learnt, folder, progress
        )
    return RunOutcome(folder, evaluation, False, data.dataset.skipped)


def _config(request: EnsembleRequest, first: Member) -> ExperimentConfig:
    """Return what is needed to read the data again, under the ensemble's name."""
    recorded = recorded_config(first.folder, request.data_root, option="--data")
    changes: dict[str, Any] = {"defect": request.defect} if request.defect else {}
    document = {
        "name": request.name,
        "seed": 0,
        "model": {"architecture": ARCHITECTURE, "pretrained": False},
        "input": {
            key: getattr(first.config.input, key) for key in ("size", "channels", "white_level")
        },
        "data": recorded.data.model_copy(update=changes),
        "calibration": first.config.calibration,
    }
    return validate(ExperimentConfig, document, "ensemble")


def _require_members_items(config: ExperimentConfig, first: Member, data: PreparedData) -> None:
    """Refuse data, or a split of it, that isn't what the members were judged on."""
    dataset, known = data.dataset, first.record.data
    if dataset.classes != known.classes:
        raise InputError(
            f"data.defect: the classes (clean / defect) must be {' / '.join(known.classes)}, as "
            f"the runs were trained, got {' / '.join(dataset.classes)}"
        )
    require_same_data(
        config.data.root, known.fingerprint, dataset.fingerprint, role="the data of the runs"
    )
    for name in ("calibration", "test"):
        items = {dataset.paths[index] for index in getattr(data.split, name)}
        if items != item_paths(first.model, name):
            raise InputError(
                f"{first.folder}: its predictions are of other {name} items than its config.yaml "
                f"gives; drupe evaluate {first.folder} writes them anew"
            )


def _claim(folder: Path, identity: str) -> RunRecord | None:
    """Return the record of this ensemble where ``folder`` holds it, None where it is new.

    Another ensemble that was interrupted gives way: nothing of it is lost.
    """
    record = find_record(folder)
    if record is None or record.identity == identity:
        return record
    if record.members and record.status != "done":
        return None
    what = "other members" if record.members else f"{record.name}, no ensemble"
    raise InputError(f"{folder}: already holds another run ({what}); choose another --out")


def _network(members: Sequence[Member]) -> tuple[Ensemble, EnsembleMetadata]:
    """Return the members' networks as one; its own temperature isn't known yet."""
    networks, headers = [], []
    for member in members:
        network, metadata = load_network(member.folder)
        assert isinstance(network, Network)
        assert isinstance(metadata, NetworkMetadata)
        networks.append(network)
        headers.append(metadata)
    ensemble = Ensemble(networks, [one.temperature for one in headers])
    metadata = EnsembleMetadata(
        members=tuple(headers), classes=members[0].record.data.classes, temperature=1.0
    )
    return ensemble, metadata


def _member_record(member: Member, metadata: NetworkMetadata) -> MemberRecord:
    return MemberRecord(
        run=member.record.name,
        folder=str(member.folder),
        architecture=metadata.architecture,
        identity=member.record.identity,
        weights=member.weights,
        temperature=metadata.temperature,
    )


def _judge(
    network: Ensemble,
    metadata: EnsembleMetadata,
    types: FittedTypes,
    record: RunRecord,
    config: ExperimentConfig,
    data: PreparedData,
    learnt: frozenset[str],
    folder: Path,
    progress: Progress,
) -> Evaluation:
    world = World()
    device = choose_device("auto", world)
    set_threads(None, world)
    source = ImageSource(data.dataset.images, data.dataset.is_defect, device)
    started = time.perf_counter()
    write_config(folder, config, leave_out=NOT_USED)
    record.write(folder)  # before all else: by it another try knows its own
    try:
        evaluation = judge(network.to(device), data, source, folder, progress, types=types.head)
        write_types(folder, types.head)
        record.data.notes += types.notes
        write_digests(folder, learnt)
        fitted = metadata.model_copy(update={"temperature": evaluation.temperature})
        save_ensemble(folder, network, fitted)
    except BaseException as error:
        record.stop(folder, error)
        raise
    record.judge_seconds = time.perf_counter() - started
    record.finished = now()
    record.results = digest_results(folder)
    record.status = "done"
    record.write(folder)
    return evaluation
