from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from parts import (
    pytest_deselected,
    pytest_make_collect_report,
    pytest_runtest_makereport,
    pytest_sessionfinish,
    pytest_terminal_summary,
    pytest_testnodedown,
)

__all__ = [
    "pytest_deselected",
    "pytest_make_collect_report",
    "pytest_runtest_makereport",
    "pytest_sessionfinish",
    "pytest_terminal_summary",
    "pytest_testnodedown",
]

# As the command line does, before anything loads torch: spinning threads crawl on a busy machine.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

REPOSITORY = Path(__file__).parents[1]
REAL_CROPS = REPOSITORY.parent / "shared" / "data" / "cherries"


@pytest.fixture(scope="session")
def real_crops() -> Path:
    """Folder of the real cherry crops, which can't be part of this repository."""
    folder = Path(os.environ.get("DRUPE_REAL_CROPS", REAL_CROPS))
    if not (folder / "train").is_dir():
        pytest.skip(f"real crops not found at {folder}: name their folder in DRUPE_REAL_CROPS")
    return folder


@pytest.fixture(scope="session")
def small_synthetic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of 200 synthetic crops without faults; read only."""
    from drupe.data.synthetic.generation import synthesise

    folder = tmp_path_factory.mktemp("synthetic") / "cherries"
    synthesise(folder, images=200, size=64, seed=1)
    return folder


@pytest.fixture(scope="module")
def chromium() -> Any:
    """Chromium, driven by Playwright; skips where that is not installed."""
    from browser import AS_ROOT, BROWSER, PATIENCE

    playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=BROWSER, args=AS_ROOT, timeout=PATIENCE)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def empty_mlflow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a local MLflow store: its tables take seconds to make."""
    mlflow = pytest.importorskip("mlflow", reason="needs drupe[mlflow]")
    pytest.importorskip("alembic", reason="needs drupe[mlflow]")
    file = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    mlflow.MlflowClient(tracking_uri=f"sqlite:///{file}").search_experiments()
    return file


@pytest.fixture
def uri(empty_mlflow: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A local MLflow store; its artefacts go below the working folder."""
    monkeypatch.chdir(tmp_path)
    return f"sqlite:///{shutil.copy(empty_mlflow, tmp_path)}"


LONGEST = (
    "docs/test_pages_run",
    "reporting/test_notebook_runs",
    "reporting/test_browser",
    "deployment/test_graph",
    "deployment/test_image_kinds",
    "deployment/test_export",
    "training/test_processes",
)
"""Files that one process works on for minutes: none is to be begun when the other is at its end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the longest files first."""
    items.sort(key=lambda item: not any(name in item.nodeid for name in LONGEST))
