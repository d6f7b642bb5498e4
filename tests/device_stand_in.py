"""Devices that this machine lacks: backends, and sessions of runtimes, that stand in for them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime

from bundle_files import change
from drupe.deployment import backends
from drupe.deployment.onnx_runtime import OnnxRuntimeSession
from service_files import brightness_bundle

NAME = "stand-in"


class Shifted:
    """The CPU's answers, each score moved by ``shift`` as a device that rounds otherwise has it."""

    def __init__(self, session: OnnxRuntimeSession, shift: float) -> None:
        self._session, self._shift, self.takes = session, np.float32(shift), session.takes

    def __call__(self, images):
        return self.outputs(images)[0]

    def outputs(self, images):
        scores, *others = self._session.outputs(images)
        return (np.clip(scores + self._shift, 0, 1), *others)


@dataclass(frozen=True)
class StandIn:
    """A device by the name of ``stand-in``; ``missing``: why there is none."""

    shift: float = 0.0
    missing: str | None = None
    name: str = NAME
    precisions: tuple[str, ...] = ("fp32", "fp16")
    is_asked_for: bool = True

    def obstacle(self, precision: str) -> str | None:
        return self.missing

    def open(self, graph, settings):
        return Shifted(OnnxRuntimeSession(graph, settings.threads), self.shift)


def registered(monkeypatch, device: StandIn) -> StandIn:
    """Register ``device`` until the test ends, in place of the one before."""
    monkeypatch.setitem(backends._backends, device.name, device)
    return device


def two_way_bundle(folder: Path) -> Path:
    """Write a bundle that prefers the device, and is certified for ONNX Runtime on the CPU too."""
    bundle = brightness_bundle(folder)
    (one,) = json.loads((bundle / "bundle.json").read_text())["functions"]
    certified = one | {"certificate": {"approximate": None, "measured_on": {}}}
    change(bundle, functions=[certified | {"backend": NAME}, certified])
    return bundle


class GpuRuntime:
    """ONNX Runtime's session where GPUs are: the CPU computes, and the answers name a GPU.

    ``given``: how each session was asked for. ``placed``: the provider of each operator; of those
    not named the first provider. ``loads``: the first provider does.
    """

    def __init__(self, placed: Mapping[str, str] | None = None, loads: bool = True) -> None:
        self.placed, self.loads = dict(placed or {}), loads
        self.given: list[dict[str, Any]] = []
        self.batches: list[int] = []
        self._real = onnxruntime.InferenceSession

    def __call__(self, graph: bytes, options: Any, providers: Sequence[Any], **asked: Any) -> Any:
        session = self._real(graph, options, providers=["CPUExecutionProvider"])
        if providers == ["CPUExecutionProvider"]:
            return session
        names = [name for name, _ in providers]
        record = {"providers": dict(providers), **asked, "falls_back": True}
        self.given.append(record)
        parts = [
            SimpleNamespace(
                ep_name=self.placed.get(node.op_type, names[0]), get_nodes=lambda node=node: [node]
            )
            for part in session.get_provider_graph_assignment_info()
            for node in part.get_nodes()
        ]

        def run(names: None, feed: Mapping[str, Any]) -> list[Any]:
            self.batches += [len(images) for images in feed.values()]
            return session.run(names, feed)

        return SimpleNamespace(
            get_providers=lambda: [*(names if self.loads else ()), "CPUExecutionProvider"],
            get_provider_graph_assignment_info=lambda: parts,
            disable_fallback=lambda: record.update(falls_back=False),
            get_inputs=session.get_inputs,
            run=run,
        )
