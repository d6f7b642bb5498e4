"""The rules of the house hold in the package, and a breach of each is found."""

from __future__ import annotations

import pytest

from house_rules import (
    FILE_LINES,
    FUNCTION_LINES,
    KNOWS_RUN_FILES,
    LAYERS,
    PACKAGE,
    READS_CLOCK,
    READS_ENVIRONMENT,
    ROOMS,
    SHARED_NAMES,
    Module,
    clock_reads,
    environment_reads,
    import_circles,
    layer_problems,
    length_problems,
    module_imports,
    modules,
    room_problems,
    run_file_literals,
    shared_class_names,
)


def test_every_folder_is_a_layer() -> None:
    folders = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert folders <= set(LAYERS)


def test_layers_import_downward_only() -> None:
    assert [problem for module in modules() for problem in layer_problems(module)] == []


def test_rooms_import_what_they_may() -> None:
    assert [problem for module in modules() for problem in room_problems(module)] == []


def test_every_room_exists() -> None:
    assert {room for room in ROOMS if not (PACKAGE / room.replace(".", "/")).is_dir()} == set()


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert import_circles(module_imports()) == []


def test_a_circle_is_found() -> None:
    house = {"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}
    assert import_circles(house) == [{"b", "c"}]


@pytest.mark.parametrize(
    ("name", "source", "wrong"),
    [
        ("study.definition.spec", "from drupe.study.execution.work import Work", 1),
        ("study.definition.spec", "from drupe.study.run import run_study", 1),
        ("study.execution.local", "from drupe.study.execution.ray.node import Data", 1),
        ("study.execution.work", "from drupe.study.verdict.figures import measure", 1),
        ("study.execution.ray.node", "from drupe.study.execution.local import LocalExecutor", 0),
        ("study.run", "from drupe.study.verdict.assess import assess", 0),
        ("data.copies.patches", "from drupe.data.discover import discover", 1),
        ("deployment.int8.search", "from drupe.deployment.backends import Session", 0),
        ("deployment.int8.search", "from drupe.deployment.export import export_run", 1),
    ],
)
def test_an_import_from_another_room(name: str, source: str, wrong: int) -> None:
    assert len(room_problems(Module(name, source))) == wrong


# How the run directory's files are called is known in one module. Others may use such a name in a
# sentence; weights files of a model hub are something else.


def test_one_module_knows_the_names_in_a_run_directory() -> None:
    knowing = {module.name for module in modules() if run_file_literals(module)}
    assert knowing == KNOWS_RUN_FILES


@pytest.mark.parametrize(
    "source",
    [
        'path = folder / "run.json"',
        'folder / "predictions" / f"{name}.csv"',
        'NAME = "evaluation.json"',
        'NAMES = ("a", "config.yaml")',
        'folder = root / f"seed-{seed}"',
        'config = f"{store}/runs/{key}/config.yaml"',
        'runs = folder.glob("seed-*/run.json")',
    ],
)
def test_a_run_file_named_elsewhere_is_found(source: str) -> None:
    assert run_file_literals(Module("study.run", source))


def test_a_class_has_a_name_of_its_own() -> None:
    assert shared_class_names(modules()) == SHARED_NAMES


def test_a_shared_class_name_is_found() -> None:
    house = [Module("a", "class Seen: ...\nclass _Row: ..."), Module("b", "class Seen: ...")]
    assert shared_class_names([*house, Module("c", "class _Row: ...")]) == {"Seen"}


def test_files_and_functions_are_short() -> None:
    assert [problem for module in modules() for problem in length_problems(module)] == []


def test_only_listed_modules_read_the_environment() -> None:
    assert {module.name for module in modules() if environment_reads(module)} == READS_ENVIRONMENT


def test_only_listed_modules_read_the_clock() -> None:
    assert {module.name for module in modules() if clock_reads(module)} == READS_CLOCK


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("data.split", "import torch"),
        ("data.split", "import scipy.stats"),
        ("data.split", "def f():\n    from torch import nn"),
        ("data.split", "from drupe.evaluation.intervals import Proportion"),
        ("data.split", "from drupe import training"),
        ("evaluation.metrics", "import timm"),
        ("evaluation.metrics", "from drupe.models.zoo import resolve"),
        ("models.zoo", "import drupe.training.engine"),
        ("training.run", "from drupe.study.definition.plan import plan"),
        ("training.run", "from drupe.workbench.progress_display import progress_on"),
        ("errors", "from drupe.data.split import Split"),
        ("files", "import torch"),
        ("deployment.runtime", "import torch"),
        ("cli.train", "import torch"),
        ("cli.train", "try:\n    import scipy\nexcept ImportError:\n    scipy = None"),
        ("", "from drupe.training.engine import Trainer"),
        ("", "from drupe.evaluation.intervals import Proportion"),
    ],
)
def test_a_wrong_import_is_found(name: str, source: str) -> None:
    assert len(layer_problems(Module(name, source))) == 1


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("data.split", "import numpy\nfrom drupe.errors import InputError"),
        ("data.split", "from drupe import InputError, __version__"),
        ("training.run", "import torch\nfrom drupe.models.network import Network"),
        ("cli.train", "def train():\n    import torch"),
        ("cli.train", "if TYPE_CHECKING:\n    import torch"),
        ("__main__", "from drupe.cli.app import main"),
        ("", "if TYPE_CHECKING:\n    from drupe.evaluation.intervals import Proportion"),
    ],
)
def test_a_right_import_is_left_alone(name: str, source: str) -> None:
    assert layer_problems(Module(name, source)) == []


def test_a_relative_import_is_refused() -> None:
    with pytest.raises(AssertionError, match="relative"):
        layer_problems(Module("data.split", "from ..training import engine"))


@pytest.mark.parametrize(
    "source",
    ["import os\nos.environ['A']", "import os\nos.getenv('A')", "from os import environ"],
)
def test_a_look_at_the_environment_is_found(source: str) -> None:
    assert environment_reads(Module("data.split", source))


@pytest.mark.parametrize(
    "source",
    [
        "import time\ntime.time()",
        "import time\nclock = time.perf_counter",
        "from time import monotonic",
        "from datetime import datetime\ndatetime.now()",
        "import datetime\ndatetime.date.today()",
    ],
)
def test_a_look_at_the_clock_is_found(source: str) -> None:
    assert clock_reads(Module("data.split", source))


def test_what_is_too_long_is_found() -> None:
    function = "def f():\n" + "    pass\n" * FUNCTION_LINES
    assert len(length_problems(Module("data.split", function))) == 1
    documented = "def f():\n" + '    """One.\n\n    Two.\n    """\n' + "    pass\n" * 59
    assert length_problems(Module("data.split", documented)) == []
    assert length_problems(Module("data.split", "\n" * FILE_LINES)) == []
    assert len(length_problems(Module("data.split", "\n" * (FILE_LINES + 1)))) == 1
