"""A study as a notebook for rented GPUs, and the same as a script with ``# %%`` cells.

Every step is a file in ``templates/notebook``: its docstring becomes the text above the cell, the
rest the cell. Names such as ``__STUDY__`` in it are replaced by what the study says.
"""

from __future__ import annotations

import ast
import json
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files

import nbformat

from drupe.errors import InputError
from drupe.reporting.markdown import escape
from drupe.study.definition.loading import Study
from drupe.study.definition.spec import Experiment

GROUPS = 4
"""Cells for the experiments between the baseline's and the comparisons'."""

CHECKPOINTS = {"resnet50": "resnet50_augmented_unnormalized/model_best.pt"}
"""Where a team keeps the model of an architecture that it has trained before, on its Drive."""

PLACEHOLDER = re.compile(r"__([A-Z]+(?:_[A-Z]+)*)__")


@dataclass(frozen=True)
class Step:
    """A cell of code and the Markdown above it; ``name`` is also its stable identity."""

    name: str
    text: str
    code: str


@dataclass(frozen=True)
class Notebook:
    """All steps, in order."""

    steps: tuple[Step, ...]


def build_notebook(
    study: Study, path: str, overrides: Sequence[str] = (), source: str = ""
) -> Notebook:
    """Return the notebook of ``study``, which it finds at ``path``; Drupe comes from ``source``.

    ``overrides`` are the ``KEY=VALUE`` words that the study was loaded with.

    Raises:
        InputError: the study has no baseline experiment, or too few others for a cell each.
    """
    spec = study.spec
    if spec.baseline.experiment is None:
        raise InputError(f"{study.source}: a notebook needs baseline.experiment, got none")
    base = spec.experiment(spec.baseline.experiment)
    architecture = study.configs[base.id].model.architecture
    compared = [item for item in spec.experiments if item.kind == "comparison"]
    first = {
        "NAME": escape(spec.study),
        "QUESTION": _wrapped(escape(spec.question)),
        "SKIP": _skips(spec.experiments),
        "SOURCE": _literal(source),
        "STUDY": _literal(path),
        "OVERRIDES": json.dumps(list(overrides), ensure_ascii=False),
        "BASE": base.id,
        "CHECKPOINT": _literal(CHECKPOINTS.get(architecture, "")),
        "ARCHITECTURE": _literal(architecture),
    }
    steps = [
        _step("settings", first),
        _step("install", {}),
        _step("gpu", {"TRAINED": json.dumps([item.id for item in spec.training])}),
        _step("data", {"STUDY_NAME": _literal(spec.study)}),
        _step("baseline", {"BASE": base.id, "BASE_ID": _literal(base.id), "ABOUT": _about([base])}),
    ]
    for number, group in enumerate(group_experiments(study), start=len(steps) + 1):
        title = ", ".join(item.id for item in group)
        values = {"NUMBER": str(number), "TITLE": title, "ABOUT": _about(group)}
        steps.append(_step("experiments", values | {"ARGUMENTS": _arguments(group)}, title))
    title = ", ".join([*(item.id for item in compared), "comparison and verdict"])
    steps.append(_step("verdict", {"TITLE": title, "ABOUT": _about(compared)}))
    steps.append(_step("download", {}))
    return Notebook(tuple(steps))


def group_experiments(study: Study) -> tuple[tuple[Experiment, ...], ...]:
    """Return the experiments of each of the four cells between baseline and comparisons.

    Ids that differ in a last letter (EXP-002A, EXP-002B) share a cell, others have their own; what
    waits for a condition comes last. Where that makes too many cells, the smallest neighbours are
    put together; where too few, the largest group is split.

    Raises:
        InputError: there are fewer than four experiments.
    """
    spec = study.spec
    others = [
        item
        for item in spec.experiments
        if item.kind != "comparison" and item.id != spec.baseline.experiment
    ]
    if len(others) < GROUPS:
        raise InputError(
            f"{study.source}: a notebook has {GROUPS} cells between the baseline's and the "
            f"comparisons': it needs as many experiments for them, got {len(others)}"
        )
    others.sort(key=lambda item: item.when is not None)
    groups: list[list[Experiment]] = []
    for item in others:
        if groups and _family(groups[-1][-1]) == _family(item):
            groups[-1].append(item)
        else:
            groups.append([item])
    while len(groups) > GROUPS:
        place = min(
            range(len(groups) - 1),
            key=lambda i: (_is_mixed(groups[i], groups[i + 1]), len(groups[i] + groups[i + 1])),
        )
        groups[place : place + 2] = [groups[place] + groups[place + 1]]
    while len(groups) < GROUPS:
        place = max(range(len(groups)), key=lambda i: len(groups[i]))
        group, half = groups[place], (len(groups[place]) + 1) // 2
        groups[place : place + 1] = [group[:half], group[half:]]
    return tuple(map(tuple, groups))


def _family(item: Experiment) -> tuple[str, str, bool]:
    """Return what experiments of one cell have in common."""
    return re.sub(r"(?<=\d)[A-Za-z]$", "", item.id), item.kind, item.when is not None


def _is_mixed(a: Sequence[Experiment], b: Sequence[Experiment]) -> bool:
    """Return whether two groups wait for different things, and are better kept apart."""
    return (a[-1].when is None) != (b[0].when is None) or a[-1].kind != b[0].kind


def to_ipynb(notebook: Notebook) -> str:
    """Return the notebook's file, for Jupyter and Colab; the same for the same study."""
    cells = []
    for step in notebook.steps:
        cells.append(nbformat.v4.new_markdown_cell(step.text, id=f"{step.name}-text"))
        cells.append(nbformat.v4.new_code_cell(step.code, id=step.name))
    document = nbformat.v4.new_notebook(cells=cells)
    document.nbformat_minor = 5  # of the format, not of the package that happens to be installed
    document.metadata = {
        "accelerator": "GPU",
        "colab": {"gpuType": "T4", "provenance": []},
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    nbformat.validate(document)
    text: str = nbformat.writes(document)
    return text.rstrip("\n") + "\n"


def to_script(notebook: Notebook) -> str:
    """Return the same cells as a Python script that editors show as a notebook."""
    parts = []
    for step in notebook.steps:
        lines = (f"# {line}".rstrip() for line in step.text.splitlines())
        parts.append("\n".join(["# %% [markdown]", *lines]))
        parts.append(f"# %%\n{step.code}")
    return "\n\n".join(parts) + "\n"


def _step(template: str, values: Mapping[str, str], title: str = "") -> Step:
    """Return a step from its template; a placeholder without a value is a ``KeyError``."""
    file = files("drupe.reporting") / "templates" / "notebook" / f"{template}.py"
    source = file.read_text(encoding="utf-8")
    module = ast.parse(source)
    text = ast.get_docstring(module)
    assert text is not None
    code = "\n".join(source.splitlines()[module.body[0].end_lineno :]).strip("\n")
    name = re.sub(r"[^a-z0-9]+", "-", f"{template} {title}".lower()).strip("-")[:48]
    return Step(name, _fill(text, values).rstrip(), _fill(code, values))


def _fill(template: str, values: Mapping[str, str]) -> str:
    return PLACEHOLDER.sub(lambda found: values[found[1]], template)


def _literal(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _skips(experiments: Sequence[Experiment]) -> str:
    """Return the flags as a dictionary, each with its title."""
    lines = [f"    {_literal(item.id)}: False,{_comment(item.title)}" for item in experiments]
    return "\n".join(["{", *lines, "}"])


def _comment(text: str, width: int = 60) -> str:
    words = " ".join(text.split())
    return f"  # {words[:width]}" if words else ""


def _wrapped(line: str) -> str:
    return textwrap.fill(
        line, 96, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )


def _about(experiments: Sequence[Experiment]) -> str:
    """Return a line of Markdown for each experiment: title, hypothesis, condition."""
    return "\n".join(_wrapped(f"- {' '.join(_sentences(item))}") for item in experiments)


def _sentences(item: Experiment) -> Iterator[str]:
    yield f"**{item.id}**" + (f" {escape(item.title)}." if item.title else "")
    if item.hypothesis:
        yield f"*{escape(item.hypothesis)}*"
    if item.when:
        yield f"Runs only if none of {', '.join(item.when.none_of)} meets {item.when.meet}."
    if item.kind == "ensemble":
        yield f"The mean of {_averaged(item)}; nothing is trained."
    elif item.subjects:
        yield f"On the run of {item.subjects[0]}; nothing is trained."


def _averaged(item: Experiment) -> str:
    first, *others = item.subjects
    return f"the first seeds of {', '.join([first, *others])}" if others else f"{first}'s seeds"


def _arguments(group: Sequence[Experiment]) -> str:
    """Return the arguments of ``run_experiments``: ids, and whose runs they need."""
    names = [_literal(item.id) for item in group]
    own = {item.id for item in group}
    needed = dict.fromkeys(
        name
        for item in group
        for name in (*item.subjects, *(item.when.none_of if item.when else ()))
        if name not in own
    )
    if needed:
        names.append(f"needs=({', '.join(map(_literal, needed))}{',' if len(needed) == 1 else ''})")
    return ", ".join(names)
