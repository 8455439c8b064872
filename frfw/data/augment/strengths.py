"""What each preset does, how often and how much."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from frfw.errors import FrfwError, nearest

if TYPE_CHECKING:
    from frfw.data.augment.cpu import Augment

Range = tuple[float, float]


@dataclass(frozen=True)
class Strengths:
    """Probabilities (names without unit) and ranges, uniform unless said otherwise.

    Attributes:
        flip: mirror left-right.
        crop: keep a rectangle where it is, black around it; `crop_area` is its share of the
            image, `crop_ratio` width / height (log-uniform).
        colour: brightness, contrast, saturation times 1 - x .. 1 + x, as torchvision defines them.
        low_resolution: shrink to a side of `low_side` times the size and enlarge again, either way
            by a random one of nearest, linear, area, cubic, Lanczos.
        blur: half Gaussian of sigma `blur_sigma` pixels, half motion over `blur_motion` pixels,
            along a row or a column.
        noise: Gaussian noise of standard deviation `noise_std` grey levels.
        jpeg: JPEG at quality `jpeg_quality`.
        dark: low light: gain times (pixel / 255) ** gamma * 255.
        cover: a face mask or sunglasses, in equal shares, of random colour.
    """

    flip: float = 0.0
    crop: float = 0.0
    crop_area: Range = (0.2, 1.0)
    crop_ratio: Range = (0.75, 4 / 3)
    colour: float = 0.0
    brightness: float = 0.5
    contrast: float = 0.5
    saturation: float = 0.5
    low_resolution: float = 0.0
    low_side: Range = (0.2, 1.0)
    blur: float = 0.0
    blur_sigma: Range = (0.5, 2.5)
    blur_motion: Range = (3.0, 11.0)
    noise: float = 0.0
    noise_std: Range = (2.0, 20.0)
    jpeg: float = 0.0
    jpeg_quality: Range = (10.0, 60.0)
    dark: float = 0.0
    dark_gamma: Range = (1.2, 2.5)
    dark_gain: Range = (0.3, 0.9)
    cover: float = 0.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.type == "Range":
                if len(value) != 2 or not 0 <= value[0] <= value[1]:
                    raise FrfwError(f"augment.strengths.{field.name}={value}: give [low, high]")
                object.__setattr__(self, field.name, (float(value[0]), float(value[1])))
            elif not 0 <= value <= 1:
                raise FrfwError(f"augment.strengths.{field.name}={value} must lie in 0..1")

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


# flip is what most public trainers do; standard is AdaFace's (Kim et al., CVPR 2022, its published
# code: each of crop, photometric and low resolution with probability 0.2); degraded aims at
# surveillance and occlusion.
_FLIP = Strengths(flip=0.5)
_STANDARD = replace(_FLIP, crop=0.2, colour=0.2, low_resolution=0.2)
_DEGRADED = replace(
    _STANDARD, blur=0.2, noise=0.2, jpeg=0.3, dark=0.15, cover=0.15, low_resolution=0.3
)
PRESETS = {"none": Strengths(), "flip": _FLIP, "standard": _STANDARD, "degraded": _DEGRADED}


def preset_strengths(name: str, changes: Mapping[str, Any] | None = None) -> Strengths:
    """Return the strengths of preset `name` with some fields changed.

    Raises:
        FrfwError: no such preset or field, or a value out of range.
    """
    if name not in PRESETS:
        raise FrfwError(
            f"there is no augmentation {name!r}.{nearest(name, PRESETS)} "
            f"Choose {', '.join(PRESETS)}"
        )
    known = [field.name for field in fields(Strengths)]
    for key in changes or {}:
        if key not in known:
            raise FrfwError(f"augment.strengths has no {key!r}.{nearest(key, known)}")
    return replace(PRESETS[name], **dict(changes or {}))


def create_augment(
    name: str | None, size: int = 112, strengths: Mapping[str, Any] | None = None
) -> Augment | None:
    """Return the preset `name` for images of `size` pixels, None when it does nothing.

    Args:
        strengths: fields of `Strengths` to change.

    Raises:
        FrfwError: as `preset_strengths`.
    """
    from frfw.data.augment.cpu import Augment

    chosen = preset_strengths(name or "none", strengths)
    return None if chosen == PRESETS["none"] else Augment(chosen, size)
