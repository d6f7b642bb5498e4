"""From a trainer to its checkpoint and back; what can't be trusted is not written and not read."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, Field

from drupe.configuration import fingerprint, validate
from drupe.errors import InputError, TrainingDivergedError
from drupe.training.engine import Trainer
from drupe.training.tensor_file import Tensors, load_tensors, save_tensors


class CheckpointState(BaseModel):
    """The header of a checkpoint: epochs done, the loss scaler's state, two digests.

    ``tensors``: of all names; ``content``: of names, forms and values, None from earlier versions.
    """

    epoch: int = Field(ge=1)
    scaler: dict[str, Any]
    tensors: str
    content: str | None = None


def save_checkpoint(path: Path, trainer: Trainer, epochs_done: int) -> None:
    """Write all that the next epoch depends on."""
    tensors = trainer.state()
    state = CheckpointState(
        epoch=epochs_done,
        scaler=trainer.scaler.state_dict(),
        tensors=_names(tensors),
        content=_content(tensors),
    )
    save_tensors(path, tensors, state.model_dump())


def restore_checkpoint(path: Path, trainer: Trainer) -> int:
    """Put the checkpoint at ``path`` back into ``trainer``; return the number of epochs done.

    Raises:
        InputError: the file is damaged, or of another run.
    """
    epochs = trainer.config.training.epochs
    try:
        tensors, document = load_tensors(path)
        state = validate(CheckpointState, document, str(path))
        if state.tensors != _names(tensors):
            raise InputError(f"{path}: damaged: tensors are missing, added or renamed")
        if state.content is not None and state.content != _content(tensors):
            raise InputError(f"{path}: damaged: its values aren't those that were written")
        if state.epoch > epochs:
            raise InputError(f"{path}: epoch: must be in [1, {epochs}], got {state.epoch}")
        trainer.restore(tensors, state.scaler)
        require_finite_weights(trainer, state.epoch)
    except InputError as error:
        raise InputError([*error.problems, _remedy(path)]) from None
    except TrainingDivergedError as error:
        raise InputError([f"{path}: damaged: {error}", _remedy(path)]) from None
    except (RuntimeError, ValueError, TypeError, LookupError) as error:
        reason = f"{path}: does not fit this run: {error}"
        raise InputError([reason, _remedy(path)]) from None
    return state.epoch


def _names(tensors: Tensors) -> str:
    return fingerprint(sorted(tensors))


def _content(tensors: Tensors) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _remedy(path: Path) -> str:
    return f"to start the run anew, delete {path.parent}"


def require_finite_weights(trainer: Trainer, epochs_done: int) -> None:
    """Stop where the network's or the average's weights became NaN or infinite.

    Raises:
        TrainingDivergedError: they did; such weights are neither kept nor judged.
    """
    weights = [*trainer.network.state_dict().items(), *trainer.average.module.state_dict().items()]
    for name, tensor in weights:
        if not bool(torch.isfinite(tensor).all()):
            raise TrainingDivergedError(
                f"the weights of {name} became NaN or infinite by the end of epoch {epochs_done}: "
                "lower training.learning_rate or training.weight_decay, or set "
                "training.precision to fp32"
            )
