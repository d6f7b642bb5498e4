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
        self._known: float | str = ""

    def fault(self) -> str | None:
        """Return why nothing may be accepted; None where the last challenge was passed lately."""
        records = self._settings.records
        try:
            changed = records.stat().st_mtime_ns
        except OSError:
            return f"challenge: none was made yet ({records})"
        if changed != self._changed:
            self._known, self._changed = self._read(), changed
        known = self._known
        if isinstance(known, str):
            return f"challenge: {known}"
        age = self._clock.wall() - known
        if age > self._settings.within_hours * HOUR_S:
            return (
                f"challenge: the last one was passed {age / HOUR_S:.1f} hours ago, must be within "
                f"{self._settings.within_hours:g}"
            )
        return None

    def _read(self) -> float | str:
        """Return when the last challenge was passed (seconds since 1970), or why it wasn't."""
        try:
            records = read_records(self._settings.records)
            if not records:
                return "none was made yet"
            if not records[-1]["passed"]:
                return "the last one was failed"
            return datetime.fromisoformat(records[-1]["time"]).timestamp()
        except (DrupeError, OSError, ValueError) as error:
            return str(error)
