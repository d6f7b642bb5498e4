"""Whether a challenge was passed, and lately enough."""

from __future__ import annotations

from datetime import datetime

from drupe.errors import DrupeError
from drupe.line.challenge import read_records
from drupe.line.station.clock import Clock
from drupe.line.station.configuration import ChallengeSettings

HOUR_S = 3600


class PassedChallenge:
    """Looks into the records of ``drupe challenge`` whenever their file has changed."""

    def __init__(self, settings: ChallengeSettings, clock: Clock) -> None:
        self._settings, self._clock = settings, clock
        self._changed: int | None = None
        self._passed_at: float | None = None
        self._problem = ""

    def fault(self) -> str | None:
        """Return why nothing may be accepted; None where the last challenge was passed lately."""
        records = self._settings.records
        try:
            changed = records.stat().st_mtime_ns
        except OSError:
            return f"challenge: none was made yet ({records})"
        if changed != self._changed:
            self._read()
            self._changed = changed
        if self._passed_at is None:
            return f"challenge: {self._problem}"
        age = self._clock.wall() - self._passed_at
        if age > self._settings.within_hours * HOUR_S:
            return (
                f"challenge: the last one was passed {age / HOUR_S:.1f} hours ago, must be within "
                f"{self._settings.within_hours:g}"
            )
        return None

    def _read(self) -> None:
        self._passed_at = None
        try:
            records = read_records(self._settings.records)
            if not records:
                self._problem = "none was made yet"
            elif not records[-1]["passed"]:
                self._problem = "the last one was failed"
            else:
                self._passed_at = datetime.fromisoformat(records[-1]["time"]).timestamp()
        except (DrupeError, OSError, ValueError) as error:
            self._problem = str(error)
