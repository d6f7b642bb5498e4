"""The files of a search: ``STORE/tune/NAME/``. These names stand nowhere else in the package."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class TuneFolder:
    """The files of the search in ``path``, whether they exist or not."""

    path: Path

    @classmethod
    def of(cls, store: Path, name: str) -> TuneFolder:
        """Return where a search that starts from the experiment ``name`` lies."""
        return cls(store / "tune" / name)

    @property
    def database(self) -> Path:
        """Optuna's own storage (SQLite): every trial, whatever becomes of it."""
        return self.path / "search.db"

    @property
    def winner(self) -> Path:
        """The best experiment so far, ready to be trained."""
        return self.path / "winner.yaml"

    @property
    def document(self) -> Path:
        """What was tried and what came of it, as JSON."""
        return self.path / "tune.json"

    @property
    def page(self) -> Path:
        """The same as a page."""
        return self.path / "tune.html"

    def fold(self, trial: int, fold: int) -> Path:
        """Return the run directory of a trial's inner fold, both counted from 0."""
        return self.path / f"trial-{trial:04}" / f"fold-{fold}"
