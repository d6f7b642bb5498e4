"""The house rules that a machine can check: who imports whom, and how long things are."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "src" / "drupe"

# Each layer with the layers that it may import, beside itself and the base.
LAYERS: dict[str, set[str]] = {
    "data": set(),
    "runs": set(),
    "evaluation": {"data", "runs"},
    "models": set(),
    "training": {"data", "runs", "evaluation", "models"},
    "deployment": {"data", "runs", "evaluation", "models", "training"},
    "study": {"data", "runs", "evaluation", "models", "training", "deployment"},
    "tuning": {"data", "runs", "evaluation", "models", "training", "deployment", "study"},
}
LAYERS["line"] = {"data", "evaluation", "deployment"}
LAYERS["labels"] = LAYERS["tuning"]
LAYERS["reporting"] = set(LAYERS)
LAYERS["workbench"] = set(LAYERS)
LAYERS["cli"] = set(LAYERS)

# The rooms inside a layer, each with what of that layer it may import beside itself. Whatever
# stands outside its layer's rooms may import any of them.
ROOMS: dict[str, set[str]] = {
    "data.copies": set(),
    "data.synthetic": set(),
    "deployment.int8": {"deployment.backends", "deployment.gate", "deployment.graph"},
    "study.definition": set(),
    "study.execution": {"study.definition"},
    "study.execution.ray": {"study.definition", "study.execution"},
    "study.verdict": {"study.definition", "study.execution"},
}
BASE = {
    "",
    "arrays",
    "closing",
    "configuration",
    "derived",
    "errors",
    "exclusive",
    "files",
    "host",
    "leftovers",
    "locks",
    "notices",
    "parallel",
    "periodic",
    "printable",
    "progress",
    "templates",
    "web",
}  # "" is drupe/__init__.py

# The package itself names the public members of these layers, and loads them when they are used.
FRONT_DOOR = {"deployment", "evaluation", "line", "workbench"}

TORCH = {"torch", "torchvision", "timm", "safetensors"}
# Packages that a module may not import anywhere, by the start of its name.
FORBIDDEN: dict[str, set[str]] = {
    "data": TORCH | {"scipy"},
    "evaluation": TORCH,
    "runs": TORCH | {"scipy", "polars"},
    # What the line PC runs: the core install has none of these.
    **{
        f"deployment.{name}": TORCH | {"scipy", "polars", "onnx"}
        for name in (
            *("backends", "bench", "bundle", "capture", "drift", "explain", "graph_file"),
            *("intake", "manifest", "predict", "runtime", "subjects", "timing", "unknown"),
            "watcher",
        )
    },
    "labels.review": TORCH,  # whoever looks at pictures needs no network
    "evaluation.order_statistics": {"scipy"},  # the line PC's bench needs it
    "line": TORCH | {"scipy", "polars", "onnx"},  # the line PC has none of these
    "deployment.answers": TORCH | {"scipy", "polars", "onnx"},  # the line PC's bench writes them
    **{name: TORCH | {"scipy"} for name in BASE if name},
}
# ... and may not import at module level, because `drupe --help` has to be instant.
NOT_AT_ONCE: dict[str, set[str]] = {"cli": TORCH | {"scipy", "numpy", "PIL", "onnxruntime"}}

READS_ENVIRONMENT = {
    "cli.serve",  # tokens: on the command line everybody could read them
    "cli.study_deliver",  # is there a screen to open a page on?
    "host",  # tells OpenMP how to wait before torch is loaded
    "study.execution.ray.cluster",  # asks Ray to keep its warnings to itself
    "study.execution.process",  # gives a process the environment that it is told
    "study.execution.local",  # hands it on to child processes, with one GPU to be seen
    "training.distributed",  # torchrun passes a process's place through it
}
READS_CLOCK = {
    "leftovers",  # how old is what another machine has left?
    "data.file_digests",  # a file changed just now is hashed again next time
    "data.label_history",  # when the labels were changed
    "deployment.capture.writer",  # when a picture was kept
    "labels.capture.collection",  # waits for the line to finish thinning
    "deployment.watcher",  # how long a decision took, where something watches
    "workbench.progress_display",  # rates and time left
    "deployment.timing",  # measures latency
    "line.challenge",  # when it was made
    "line.service.desk",  # has a decision been going on for too long?
    "line.log.writer",  # when a decision was made
    "line.station.clock",  # how late an item is, how long ago a challenge
    "line.watch.monitor",  # begins a bet an hour, saves once a minute
    "study.execution.local",  # gives what it has interrupted some seconds to end
    "study.check",  # times a few steps, to say how long a study will take
    "training.engine",  # images/s of each epoch
    "training.ensemble",  # how long judging took
    "training.imported",  # the same
    "training.precision",  # chooses by timing
    "runs.record",  # when a run started and ended
    "training.run",  # how long each stage took
    "tuning.search",  # stops a search after so many hours
}
CLOCKS = {"time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns"}
CALENDARS = {"now", "utcnow", "today"}

# Public classes that share their name with another one, and should not.
SHARED_NAMES = {
    "Report",  # of a page, and of what happened on a Ray node
    "Section",  # of a configuration, and of a bundle's manifest
}

FILE_LINES = 500
FUNCTION_LINES = 60  # its docstring not counted


def is_below(name: str, start: str) -> bool:
    """Return whether the dotted ``name`` is ``start`` or stands below it."""
    return name == start or name.startswith(start + ".")


@dataclass(frozen=True)
class Module:
    name: str  # "data.split"; "" is the package itself
    source: str

    @property
    def tree(self) -> ast.Module:
        return ast.parse(self.source)

    @property
    def layer(self) -> str:
        return self.name.partition(".")[0]

    @property
    def room(self) -> str | None:
        """The innermost room that the module stands in, None outside all of them."""
        return max((room for room in ROOMS if is_below(self.name, room)), key=len, default=None)

    def under(self, rules: dict[str, set[str]]) -> set[str]:
        """Return what the rules say about this module, by the start of its dotted name."""
        applying = [rules[start] for start in rules if is_below(self.name, start)]
        return set().union(*applying)


def modules() -> list[Module]:
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found.append(Module(name, path.read_text(encoding="utf-8")))
    return found


def imports(nodes: Iterator[ast.AST]) -> Iterator[str]:
    """Yield the dotted name of everything imported among ``nodes``."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide the layer: write the full name"
            # `from drupe import data` imports drupe.data
            yield from (
                f"{node.module}.{alias.name}" if node.module == "drupe" else f"{node.module}"
                for alias in node.names
            )


def at_once(tree: ast.Module) -> Iterator[ast.AST]:
    """Yield what runs when the module is imported: not functions, not `if TYPE_CHECKING`."""
    waiting: list[ast.AST] = list(tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            continue
        yield node
        waiting.extend(ast.iter_child_nodes(node))


def layer_problems(module: Module) -> list[str]:
    problems = []
    allowed = LAYERS.get(module.layer, set()) | BASE | {module.layer}
    if module.layer in BASE:
        allowed = BASE
    if module.name == "__main__":
        allowed = {"cli"}
    if module.name == "":
        allowed = BASE | FRONT_DOOR
        problems += [
            f"drupe imports {name} at module level: import it when it is used"
            for name in imports(at_once(module.tree))
            if name.split(".")[1:2] and name.split(".")[1] in FRONT_DOOR
        ]
    for name in imports(ast.walk(module.tree)):
        root, _, rest = name.partition(".")
        layer = rest.partition(".")[0]
        if root == "drupe" and not (layer in allowed or layer.startswith("__")):
            # `from drupe import DrupeError` names a member of the package, not a layer
            if layer in LAYERS or layer in BASE or layer == "__main__":
                problems.append(f"{module.name or 'drupe'} imports {name}: not below it")
        elif root in module.under(FORBIDDEN):
            problems.append(f"{module.name} imports {name}: not in this part of the house")
    problems += [
        f"{module.name} imports {name} at module level: import it where it is used"
        for name in imports(at_once(module.tree))
        if name.partition(".")[0] in module.under(NOT_AT_ONCE)
    ]
    return problems


def room_problems(module: Module) -> list[str]:
    """Name what a room imports of its own layer and may not; a room inside it counts as another."""
    if module.room is None:
        return []
    problems = []
    for name in imports(ast.walk(module.tree)):
        root, _, imported = name.partition(".")
        if root != "drupe" or not is_below(imported, module.layer):
            continue
        room = Module(imported, "").room
        if room != module.room and not ROOMS[module.room] & {room, imported}:
            problems.append(f"{module.name} imports {name}: not below its room {module.room}")
    return problems


def import_circles(house: dict[str, set[str]]) -> list[set[str]]:
    """Return the groups of modules that import one another, directly or not, at any time."""
    circles: list[set[str]] = []
    reach = {name: _reachable(name, house) for name in house}
    for name in house:
        circle = {other for other in reach[name] if name in reach[other]}
        if circle and circle not in circles:
            circles.append(circle)
    return circles


def _reachable(start: str, house: dict[str, set[str]]) -> set[str]:
    found: set[str] = set()
    waiting = [start]
    while waiting:
        for name in house[waiting.pop()] - found:
            found.add(name)
            waiting.append(name)
    return found


def module_imports() -> dict[str, set[str]]:
    """Return each module with the modules of the package that it imports, at any time."""
    house = {module.name: module for module in modules()}
    arrows: dict[str, set[str]] = {}
    for name, module in house.items():
        wanted = set()
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ImportFrom) and f"{node.module}.".startswith("drupe."):
                base = f"{node.module}".partition(".")[2]
                inner = {f"{base}.{alias.name}".lstrip(".") for alias in node.names}
                wanted |= (inner & set(house)) or {base}
        arrows[name] = (wanted & set(house)) - {"", name}
    return arrows


def environment_reads(module: Module) -> list[int]:
    names = {"environ", "environb", "getenv"}
    return [
        node.lineno
        for node in ast.walk(module.tree)
        if (isinstance(node, ast.Attribute) and node.attr in names)
        or (isinstance(node, ast.ImportFrom) and node.module == "os" and _names(node) & names)
    ]


def clock_reads(module: Module) -> list[int]:
    return [
        node.lineno
        for node in ast.walk(module.tree)
        if (isinstance(node, ast.Attribute) and _is_clock(node))
        or (isinstance(node, ast.ImportFrom) and node.module == "time" and _names(node) & CLOCKS)
    ]


def _is_clock(node: ast.Attribute) -> bool:
    owner = ast.unparse(node.value).rpartition(".")[2]
    return (owner == "time" and node.attr in CLOCKS) or (
        owner in {"datetime", "date"} and node.attr in CALENDARS
    )


def _names(node: ast.ImportFrom) -> set[str]:
    return {alias.name for alias in node.names}


def shared_class_names(house: list[Module]) -> set[str]:
    """Return the names of public classes that are defined more than once."""
    names = Counter(
        node.name
        for module in house
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    )
    return {name for name, count in names.items() if count > 1}


def length_problems(module: Module) -> list[str]:
    problems = []
    lines = len(module.source.splitlines())
    if lines > FILE_LINES:
        problems.append(f"{module.name}: {lines} lines, at most {FILE_LINES}")
    for node in ast.walk(module.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = _lines(node) - (_lines(node.body[0]) if ast.get_docstring(node) else 0)
            if length > FUNCTION_LINES:
                problems.append(
                    f"{module.name}.{node.name}: {length} lines, at most {FUNCTION_LINES}"
                )
    return problems


def _lines(node: ast.stmt) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


RUN_FILES = {
    "run.json",
    "config.yaml",
    "metrics.jsonl",
    "model.safetensors",
    "evaluation.json",
    "predictions",
    "duplicates.json",
    "checkpoint",
    "state.safetensors",
    ".lock",
}
KNOWS_RUN_FILES = {"runs.layout"}
OTHER_MEANING = {("models.weights", "model.safetensors")}


def run_file_literals(module: Module) -> set[str]:
    """Return the names of run files that stand in the module as a path's part."""
    found = set()
    for node in ast.walk(module.tree):
        if isinstance(node, ast.JoinedStr) and ast.unparse(node).startswith(
            ("f'seed-{", 'f"seed-{')
        ):
            found.add("seed-")
        if isinstance(node, ast.JoinedStr) and isinstance(node.values[-1], ast.Constant):
            _, slash, last = str(node.values[-1].value).rpartition("/")
            found |= {last} & RUN_FILES if slash else set()
        if isinstance(node, ast.Constant) and str(node.value).startswith("seed-*"):
            found.add("seed-")
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
            parts = [part for part in (node.left, node.right) if isinstance(part, ast.Constant)]
            found |= {str(part.value) for part in parts} & RUN_FILES
        if isinstance(node, ast.Assign | ast.Tuple):
            values = node.elts if isinstance(node, ast.Tuple) else [node.value]
            names = {one.value for one in values if isinstance(one, ast.Constant)}
            found |= {
                str(name) for name in names if name in RUN_FILES - {"predictions", "checkpoint"}
            }
    return {name for name in found if (module.name, name) not in OTHER_MEANING}
