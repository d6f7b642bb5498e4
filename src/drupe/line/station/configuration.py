"""A line's YAML, typed: every key exists here, its default beside it, its unit in its name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from drupe.configuration import read_yaml, validate
from drupe.data.image_contract import Channels
from drupe.deployment.capture.writer import SAMPLE
from drupe.deployment.manifest import Section
from drupe.host import OWN_ADDRESSES

Milliseconds = Annotated[float, Field(gt=0, le=3_600_000)]
Port = Annotated[int, Field(ge=1, le=65535)]
FaultLane = Literal["review", "reject"]


class FolderSettings(Section):
    """A folder that is watched: each image that appears in it is an item, by its name."""

    path: Path = Field(description="the folder; what lies in folders below isn't looked at")
    look_ms: Milliseconds = Field(50, description="between two looks")
    settle_ms: float = Field(
        50, ge=0, le=60_000, description="unchanged for so long, a file is whole; 0: renamed there"
    )
    waiting: Literal["review", "decide"] = Field(
        "review", description="what lay there at the start: its pieces have gone by; or decide it"
    )
    move_to: Path | None = Field(None, description="decided files go to MOVE_TO/LANE/; same drive")
    silent_after_s: float | None = Field(5, gt=0, description="a look that takes longer: not valid")


class VideoSettings(Section):
    """A camera or a video, by OpenCV: each frame is an item."""

    path: str | int = Field(description="a file, a URL, or the number of a camera")
    every: int = Field(1, ge=1, description="take each so many-th frame")
    box: tuple[int, int, int, int] | None = Field(
        None, description="x, y, width, height in pixels: the part of a frame that is decided"
    )
    silent_after_s: float | None = Field(5, gt=0, description="without a frame: not valid")

    @field_validator("box")
    @classmethod
    def _inside(cls, box: tuple[int, int, int, int] | None) -> tuple[int, int, int, int] | None:
        if box and (min(box) < 0 or 0 in box[2:]):
            raise ValueError(f"must be x, y, width and height, none below 0, got {list(box)}")
        return box


class GeneratorSettings(Section):
    """A generator of your own: it yields images, or pairs of a name and an image."""

    function: str = Field(description="module:function, called without arguments")
    order: Channels | None = Field(None, description="of its arrays' channels: rgb, bgr, mono")
    waits: bool = Field(False, description="what it yields can wait: nothing is lost meanwhile")
    silent_after_s: float | None = Field(None, gt=0, description="without an item: not valid")

    @field_validator("function")
    @classmethod
    def _named(cls, name: str) -> str:
        module, colon, function = name.partition(":")
        if not (
            colon and function.isidentifier() and all(map(str.isidentifier, module.split(".")))
        ):
            raise ValueError(f"must be module:function such as my_camera:frames, got {name!r}")
        return name


class HttpSettings(Section):
    """Frames that are pushed: POST /decide, answered with where the item goes."""

    host: str = Field("127.0.0.1", description="where to listen; elsewhere with a token_file")
    port: Port = Field(8181, description="to listen at")
    token_file: Path | None = Field(
        None, description="file that holds what clients must know: Authorization: Bearer TOKEN"
    )
    max_body_mb: int = Field(16, ge=1, le=1024, description="of one request, in MiB")
    silent_after_s: float | None = Field(None, gt=0, description="without a frame: not valid")

    @model_validator(mode="after")
    def _nobody_else(self) -> Self:
        if self.token_file is None and self.host not in OWN_ADDRESSES:
            raise ValueError(
                f"host: must be 127.0.0.1 without a token_file: anybody could ask, got {self.host}"
            )
        return self


class SourceSettings(Section):
    """Where items come from: one of folder, video, generator and http."""

    folder: FolderSettings | None = None
    video: VideoSettings | None = None
    generator: GeneratorSettings | None = None
    http: HttpSettings | None = None
    piece: str | None = Field(
        None, description=r"regular expression with one group: the PLC's number in an item's name"
    )

    @field_validator("piece")
    @classmethod
    def _one_group(cls, pattern: str | None) -> str | None:
        try:
            groups = 1 if pattern is None else re.compile(pattern).groups
        except re.error as error:
            raise ValueError(f"must be a regular expression, got {pattern!r} ({error})") from None
        if groups != 1:
            raise ValueError(f"must have one group, got {groups} in {pattern!r}")
        return pattern

    @model_validator(mode="after")
    def _one(self) -> Self:
        _require_one(self, ("folder", "video", "generator", "http"))
        return self


class FileSettings(Section):
    """A file that a line is added to for each answer."""

    path: Path = Field(description="the file; it is added to")


class Login(Section):
    """How a client proves who it is; the password stands in a file of its own."""

    user: str | None = Field(None, description="name to log in with")
    password_file: Path | None = Field(None, description="file whose first line is the password")

    @model_validator(mode="after")
    def _both(self) -> Self:
        if self.password_file is not None and self.user is None:
            raise ValueError("user: required where a password_file is given")
        return self

    @property
    def password(self) -> str | None:
        """The password; None where there is none."""
        if self.password_file is None:
            return None
        return self.password_file.read_text(encoding="utf-8").partition("\n")[0]


class MqttSettings(Login):
    """A broker of MQTT 5: TOPIC/answer for each item, TOPIC/status as heartbeat and last will."""

    host: str = Field(description="the broker's")
    port: Port = Field(1883, description="the broker's; 8883 is usual with tls")
    topic: str = Field("drupe", pattern=r"^[^+#]+$", description="what both topics begin with")
    tls: bool = Field(False, description="encrypt, and check the broker's certificate")
    ca: Path | None = Field(None, description="certificates to check it by; left out: the system's")
    needs_listener: bool = Field(True, description="what nobody subscribes to isn't taken")
    timeout_ms: Milliseconds = Field(500, description="until the broker must have confirmed")


class ModbusSettings(Section):
    """A PLC, or a gateway, as a server of Modbus TCP: a block of holding registers."""

    host: str = Field(description="the server's")
    port: Port = Field(502, description="the server's")
    unit: int = Field(1, ge=0, le=255, description="device id")
    address: int = Field(0, ge=0, le=65535 - 11, description="first of 12 holding registers")
    acknowledged_at: int | None = Field(
        None, ge=0, le=65534, description="registers in which the PLC's program repeats the number"
    )
    timeout_ms: Milliseconds = Field(500, description="until the server must have confirmed")


class OpcuaSettings(Login):
    """A PLC's server of OPC UA: variables NODE.Lane, NODE.Number and so on."""

    url: str = Field(pattern=r"^opc\.tcp://", description="the server's, opc.tcp://HOST:4840/PATH")
    node: str = Field(
        pattern=r"^ns=\d+;s=.+", description='what the variables\' ids begin with: "ns=2;s=Drupe"'
    )
    timeout_ms: Milliseconds = Field(500, description="until the server must have confirmed")


class SinkSettings(Section):
    """One sink: one of jsonl, csv, mqtt, modbus and opcua."""

    jsonl: FileSettings | None = None
    csv: FileSettings | None = None
    mqtt: MqttSettings | None = None
    modbus: ModbusSettings | None = None
    opcua: OpcuaSettings | None = None
    required: bool = Field(True, description="without it nothing is accepted")

    @model_validator(mode="after")
    def _one(self) -> Self:
        _require_one(self, ("jsonl", "csv", "mqtt", "modbus", "opcua"))
        return self


def _require_one(section: Section, kinds: tuple[str, ...]) -> None:
    given = [kind for kind in kinds if getattr(section, kind) is not None]
    if len(given) != 1:
        raise ValueError(f"must be one of {', '.join(kinds)}, got {' and '.join(given) or 'none'}")


class TimingSettings(Section):
    """How late is too late."""

    deadline_ms: Milliseconds = Field(1000, description="from an item's arrival; later: on_fault")
    heartbeat_ms: Milliseconds = Field(250, description="between two heartbeats of each sink")
    retry_ms: Milliseconds = Field(500, description="until a dead sink or source is tried again")
    queue: int = Field(8, ge=1, le=10_000, description="images that wait; one more is late at once")


class LogSettings(Section):
    """The decision log, for drupe log verify."""

    folder: Path = Field(description="the log's")
    key: Path | None = Field(None, description="the file of the key that signs it")


class MonitorSettings(Section):
    """Drift, recall, counters."""

    state: Path | None = Field(None, description="file that is taken up again after a restart")
    prometheus_port: Port | None = Field(None, description="counters over HTTP, on this machine")


class CaptureSettings(Section):
    """Pictures for people to look at: every review, and a sample of all else."""

    folder: Path = Field(description="where they are kept, for drupe capture")
    sample: float = Field(SAMPLE, gt=0, le=1, description="share of what isn't reviewed")


class ChallengeSettings(Section):
    """Nothing is accepted where the last challenge was failed, or is too long ago."""

    records: Path = Field(description="the file that drupe challenge --records writes")
    within_hours: float = Field(8, gt=0, description="the last passed challenge is no older")


class LineConfig(Section):
    """A line, whole."""

    bundle: Path = Field(description="the bundle that decides")
    backend: str | None = Field(
        None, description="what runs it, such as onnxruntime-cuda; without: as the bundle prefers"
    )
    precision: str | None = Field(None, description="likewise, such as fp32")
    uncertified: bool = Field(False, description="use thresholds that no certificate proves")
    threads: int | None = Field(None, ge=1, le=256, description="of a decision; without: all cores")
    state: Path = Field(description="folder that remembers over restarts what was decided")
    on_fault: FaultLane = Field(
        "review", description="the lane of what is late, dropped, unreadable or can't be delivered"
    )
    source: SourceSettings
    sinks: tuple[SinkSettings, ...] = Field(
        min_length=1, description="told one after another: the one that moves the flap stands last"
    )
    timing: TimingSettings = TimingSettings()
    log: LogSettings | None = None
    monitor: MonitorSettings | None = None
    capture: CaptureSettings | None = None
    challenge: ChallengeSettings | None = None

    @field_validator("sinks")
    @classmethod
    def _last_is_required(cls, sinks: tuple[SinkSettings, ...]) -> tuple[SinkSettings, ...]:
        if sinks and not sinks[-1].required:
            raise ValueError("the last one moves the flap, so it must be required")
        return sinks


def load_line(path: Path) -> LineConfig:
    """Read a line's YAML; all mistakes are one :class:`drupe.errors.InputError`."""
    return validate(LineConfig, read_yaml(path), str(path))
