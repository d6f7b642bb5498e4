"""Where runs are written to as well, as a study or an experiment says it."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from drupe.training.input_config import Section


class Tracking(Section):
    """Trackers that runs are written to as well."""

    mlflow: str | None = Field(None, description="an MLflow tracking URI")
    tensorboard: Path | None = Field(None, description="folder that TensorBoard is started on")

    @property
    def is_wanted(self) -> bool:
        """Whether there is any."""
        return self.mlflow is not None or self.tensorboard is not None
