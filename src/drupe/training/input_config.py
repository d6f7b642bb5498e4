"""What a network gets of an image: its size, channels, depth and range, the cut and the views."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from drupe.data.decode import BYTE, DEEPEST
from drupe.sides import Size, height_and_width, simplest

SMALLEST_SIDE, LARGEST_SIDE = 16, 2048
Side = Annotated[int, Field(ge=SMALLEST_SIDE, le=LARGEST_SIDE)]
Sides = tuple[Side, Side]


class Section(BaseModel):
    """A frozen group of keys that refuses unknown ones."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class InputConfig(Section):
    """The part of an image that the network sees; stands in the exported graph."""

    size: Side | Sides = Field(
        128, description="pixels: images are size × size; [height, width] where they aren't square"
    )
    channels: Literal["rgb", "mono"] = Field(
        "rgb",
        description="mono: one channel, from grey files and arrays; rgb: grey files count too",
    )
    white_level: int = Field(
        BYTE,
        ge=BYTE,
        le=DEEPEST,
        description="value of a white pixel; above 255 (1023, 4095, 65535): files of 16 bits, mono",
    )
    range: Literal["raw", "unit", "imagenet"] = Field(
        "raw",
        description="black to white; raw: 0-255, bytes as the camera gives them; unit: 0-1; "
        "imagenet: standardised",
    )
    crop: Literal["none", "auto"] | Side | Sides = Field(
        "none",
        description="pixels: side of the centre crop, or [height, width]; auto: keeps 99.9 % of "
        "the content, of square images",
    )

    resolution: Literal["auto"] | Side | Sides | None = Field(
        None,
        description="pixels: side, or [height, width], that the crop is resized to; auto: "
        "input.size; null: as it is",
    )
    views: Literal[1, 2, 4, 8] = Field(
        1,
        description="logits are averaged over: 1 the image; 2 its mirror too; 4 both mirrors; "
        "8 those and quarter turns",
    )

    @field_validator("size", "crop", "resolution", mode="before")
    @classmethod
    def _square_is_one_number(cls, value: Any) -> Any:
        is_pair = isinstance(value, list | tuple) and len(value) == 2
        return simplest(value) if is_pair and value[0] == value[1] else value

    @model_validator(mode="after")
    def _crop_fits(self) -> Self:
        if isinstance(self.crop, str):
            if self.crop == "auto" and not isinstance(self.size, int):
                raise ValueError(
                    f"crop: auto takes square images, got input.size = {_listed(self.size)}: give "
                    "[height, width], or none"
                )
            return self
        sides = zip(height_and_width(self.crop), height_and_width(self.size), strict=True)
        if any(cut > whole for cut, whole in sides):
            raise ValueError(
                f"crop must be at most input.size = {_listed(self.size)}, got {_listed(self.crop)}"
            )
        return self

    @model_validator(mode="after")
    def _quarter_turns_fit(self) -> Self:
        if self.views == 8 and not isinstance(self.seen, int):
            raise ValueError(
                f"views: 8 turns images by quarters, so it takes square ones, got "
                f"{_listed(self.seen)}: 4 mirrors both axes, or cut or resize them to a square"
            )
        return self

    @model_validator(mode="after")
    def _deep_is_mono(self) -> Self:
        if self.white_level > BYTE and self.channels != "mono":
            raise ValueError(
                f"white_level: above {BYTE} takes channels: mono, got {self.channels}: no decoder "
                "here reads colour files of 16 bits exactly"
            )
        return self

    @property
    def seen(self) -> Size:
        """The size that the network gets; where ``crop`` is ``auto``, before that is known."""
        if self.resolution == "auto":
            return self.size
        crop = self.size if isinstance(self.crop, str) else self.crop
        return self.resolution or crop

    @property
    def kind(self) -> tuple[Size, str, int]:
        """Size, channels and white level: what networks that take the same images share."""
        return self.size, self.channels, self.white_level

    @model_serializer(mode="wrap")
    def _without_what_is_as_ever(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave keys that came later out at their defaults: what was done before stays known."""
        document: dict[str, Any] = write(self)
        for key, as_ever in (("channels", "rgb"), ("white_level", BYTE)):
            if document.get(key) == as_ever:
                del document[key]
        return document


def _listed(size: Size) -> str:
    return str(size) if isinstance(size, int) else str(list(size))
