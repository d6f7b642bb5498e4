"""Which functions an export evaluates: those of the backends asked for, in the precision asked for.

Without a backend's name it is those that most machines have; a device is used where it is named.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import torch

from drupe.deployment.backends import Precision, backend_named, installed, obstacle, registered
from drupe.deployment.functions import FunctionSpec
from drupe.errors import InputError, MissingExtraError
from drupe.host import cpu_name
from drupe.training.precision import native_reduced

FP32_GRAPH, INT8_GRAPH = "fp32.onnx", "int8.onnx"

AskedPrecision = Literal["fp32", "tf32", "fp16", "bf16", "int8", "auto"]
"""auto: every one that a backend computes here."""


def require_computable(precision: AskedPrecision, named: Sequence[str] | None) -> None:
    """Refuse a ``precision`` that one of the ``named`` backends, or no usual one, computes here.

    Raises:
        InputError: each backend that doesn't, and why.
        MissingExtraError: bf16 without ``drupe[openvino]``.
    """
    if named is not None:
        reasons = {name: _reason(name, precision) for name in named}
        wrong = [f"--backend {name}: {reason}" for name, reason in reasons.items() if reason]
        if wrong:
            raise InputError(wrong)
    elif precision == "bf16":
        _require_bf16()
    elif precision in ("tf32", "fp16"):
        able = [one.name for one in registered() if precision in one.precisions]
        raise InputError(
            f"--precision {precision}: takes a --backend that computes it, one of {', '.join(able)}"
        )


def _reason(name: str, precision: AskedPrecision) -> str | None:
    """Return why a backend can't compute what is asked for here, None where it can."""
    backend = backend_named(name)
    asked = backend.precisions if precision == "auto" else (precision,)
    reasons = [_obstacle(name, one) for one in asked]
    if None in reasons:
        return None
    what = "any precision" if precision == "auto" else precision
    return f"must compute {what} here, but {reasons[0]}"


def _require_bf16() -> None:
    if "openvino" not in installed():
        raise MissingExtraError("--precision bf16", "openvino", "openvino")
    if _obstacle("openvino", "bf16"):
        raise InputError(
            "--precision bf16: needs a processor that computes bf16 (AVX-512 BF16 or AMX), got "
            f"{cpu_name()}; fp32 and int8 run anywhere"
        )


def specs_for(
    precision: AskedPrecision, named: Sequence[str] | None, has_int8: bool = False
) -> list[FunctionSpec]:
    """Return the functions to evaluate, of the ``named`` backends or, with None, the usual ones.

    ``has_int8``: there is an int8 graph.
    """
    backends = list(dict.fromkeys(installed() if named is None else named))
    # The order in which they were measured before there were devices.
    order = sorted(get_args(Precision), key=lambda one: one == "bf16")
    return [
        FunctionSpec(INT8_GRAPH if one == "int8" else FP32_GRAPH, name, one)
        for one in order
        for name in backends
        if precision in (one, "auto")
        and (has_int8 or one != "int8")
        and _obstacle(name, one) is None
    ]


def _obstacle(name: str, precision: Precision) -> str | None:
    """Return why a backend can't compute ``precision`` here; bf16 only where PyTorch does."""
    is_cpu = name == "openvino" and precision == "bf16"
    if is_cpu and native_reduced(torch.device("cpu")) != "bf16":
        return "this processor doesn't compute bf16 itself"
    return obstacle(name, precision)
