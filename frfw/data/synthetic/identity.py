"""What stays the same in every picture of a synthetic person: shape, colours, marks, habits."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from frfw.data.synthetic.head import head_model

# Skin from light to dark (display RGB); a person lies between two neighbours.
_SKIN = np.array(
    [
        (246, 211, 192), (238, 196, 170), (226, 178, 148), (208, 156, 122), (184, 130, 97),
        (150, 101, 74), (116, 76, 56), (86, 56, 43),
    ],
    np.float64,
)  # fmt: skip
_EYES = np.array(
    [(66, 42, 26), (92, 62, 36), (120, 96, 52), (98, 112, 72), (92, 122, 142), (112, 134, 150)]
)
_HAIR = np.array(
    [(26, 22, 22), (44, 32, 26), (74, 50, 34), (112, 76, 46), (150, 112, 70), (196, 162, 108),
     (134, 62, 30)],
)  # fmt: skip

HAIR_STYLES = ("short", "crop", "bald", "receding", "fringe", "swept", "bob", "long", "bun", "afro")
BEARDS = ("none", "stubble", "moustache", "goatee", "full")


@dataclass(frozen=True)
class Identity:
    """The parameters of one synthetic person.

    Attributes:
        seed, number: what the person was drawn from; equal pairs give equal people.
        shape: (K,) standard-normal values of the head model's identity fields, by `SHAPE_NAMES`.
        skin, lips, eyes, hair: (3,) display RGB, 0 to 255.
        redness, mottle: strength of the cheeks' red and of the skin's unevenness.
        brow: thickness, arch, inner end, outer end, strength, slope of the eyebrows.
        lid: crease height (mm), lash weight, hooding of the eyes, iris radius (mm), eye opening.
        lips_form: fullness up, fullness down, bow, width.
        marks: (n, 4) moles: s, t, radius (mm), darkness.
        freckles: density of freckles, 0 to 1.
        ear: size, stand-off (radians), lobe, tilt.
        masculine: 0 to 1, moves habits (beard, hair styles) and some of the shape.
        hair_styles, beards: the styles this person wears.
        ageing: how fast wrinkles and grey hair come, about 1.
    """

    seed: int
    number: int
    shape: np.ndarray
    skin: np.ndarray
    lips: np.ndarray
    eyes: np.ndarray
    hair: np.ndarray
    redness: float
    mottle: float
    brow: np.ndarray
    lid: np.ndarray
    lips_form: np.ndarray
    marks: np.ndarray
    freckles: float
    ear: np.ndarray
    masculine: float
    hair_styles: tuple[str, ...]
    beards: tuple[str, ...]
    ageing: float
    neutral: np.ndarray = field(repr=False)  # (V, 3) float32 vertices without expression or age


def shape_names() -> tuple[str, ...]:
    """Names of the identity fields, in the order of `Identity.shape`."""
    return tuple(name for name in head_model().fields if name.startswith("id_"))


def create_identity(seed: int, number: int, spread: float = 1.0) -> Identity:
    """Return person ``number`` of the family ``seed``; ``spread`` scales how far people differ."""
    rng = np.random.default_rng([int(seed), int(number), 11])
    shape = np.clip(rng.normal(size=len(shape_names())), -2.2, 2.2) * spread
    masculine = float(rng.random())
    tone = float(rng.beta(1.0, 1.7) * (len(_SKIN) - 1))
    skin = _between(_SKIN, tone) * rng.normal(1.0, [0.02, 0.025, 0.04])
    dark = tone / (len(_SKIN) - 1)
    lips = skin * np.array([0.86, 0.62, 0.62]) + rng.normal(0, [7, 6, 6]) + [8, 0, 4]
    eye_place = rng.random() * (1.2 if dark > 0.45 else 5)
    hair_place = rng.random() * (1.6 if dark > 0.45 else 6)
    shape = _dimorphism(shape, masculine)
    return Identity(
        seed=int(seed),
        number=int(number),
        shape=shape,
        skin=np.clip(skin, 20, 250),
        lips=np.clip(lips, 20, 240),
        eyes=np.clip(_between(_EYES, eye_place) + rng.normal(0, 8, 3), 10, 220),
        hair=np.clip(_between(_HAIR, hair_place) + rng.normal(0, 6, 3), 8, 230),
        redness=float(rng.uniform(0.3, 1.2)),
        mottle=float(rng.uniform(0.3, 1.4)),
        brow=_brow(rng, masculine, spread),
        lid=np.array(
            [rng.uniform(1.2, 4.2), rng.uniform(0.3, 1.0) * (1.25 - 0.7 * masculine),
             rng.beta(1, 2.5), rng.normal(6.0, 0.35), np.clip(rng.normal(1, 0.16), 0.65, 1.35)]
        ),
        lips_form=np.clip(rng.normal(0, spread, 4), -2, 2),
        marks=_marks(rng),
        freckles=float(max(0.0, rng.normal(-0.3, 0.5)) * (dark < 0.45)),
        ear=np.array([rng.normal(1, 0.09), rng.uniform(0.25, 0.7), rng.uniform(0, 1),
                      rng.normal(0.12, 0.08)]),
        masculine=masculine,
        hair_styles=_habits(rng, masculine),
        beards=_beards(rng, masculine),
        ageing=float(rng.uniform(0.75, 1.25)),
        neutral=_neutral(shape),
    )  # fmt: skip


def _between(table: np.ndarray, place: float) -> np.ndarray:
    low = min(int(place), len(table) - 2)
    return table[low] + (table[low + 1] - table[low]) * np.clip(place - low, 0, 1)


def _dimorphism(shape: np.ndarray, masculine: float) -> np.ndarray:
    """Shift the means of a few fields with ``masculine``; spread stays as it is."""
    lean = {"jaw_width": 0.8, "chin_height": 0.5, "brow_ridge": 0.9, "eye_open": -0.6,
            "nose_projection": 0.4, "brow_height": -0.6, "upper_lip": -0.5, "lower_lip": -0.5,
            "neck": 0.9, "chin_width": 0.7, "length": 0.4}  # fmt: skip
    out = shape.copy()
    for k, name in enumerate(shape_names()):
        out[k] += lean.get(name[3:], 0.0) * (2 * masculine - 1)
    return out


def _neutral(shape: np.ndarray) -> np.ndarray:
    head = head_model()
    points = head.mean.copy()
    for value, name in zip(shape, shape_names(), strict=True):
        points += np.float32(value) * head.fields[name]
    return points


def _brow(rng: np.random.Generator, masculine: float, spread: float) -> np.ndarray:
    return np.array(
        [
            np.clip(rng.normal(3.4 + 1.7 * masculine, 1.15 * spread), 1.3, 7.5),
            np.clip(rng.normal(3.6 - 1.6 * masculine, 1.6 * spread), -0.5, 8.0),
            np.clip(rng.normal(12.0, 2.6 * spread), 5.5, 18.0),
            np.clip(rng.normal(49.0, 3.0 * spread), 42.0, 56.0),
            np.clip(rng.normal(0.8, 0.17), 0.35, 1.0),
            rng.normal(0.0, 1.6) * spread,
        ]
    )


def _marks(rng: np.random.Generator) -> np.ndarray:
    count = int(rng.integers(0, 6))
    s, t = rng.uniform(-62, 62, count), rng.uniform(-50, 100, count)
    return np.stack([s, t, rng.uniform(0.9, 2.4, count), rng.uniform(0.35, 0.85, count)], 1)


def _habits(rng: np.random.Generator, masculine: float) -> tuple[str, ...]:
    if masculine > 0.5:
        styles, odds = HAIR_STYLES[:6], [0.3, 0.22, 0.08, 0.12, 0.1, 0.18]
    else:
        styles, odds = HAIR_STYLES[4:], [0.15, 0.12, 0.22, 0.31, 0.14, 0.06]
    return tuple(str(x) for x in rng.choice(styles, size=3, replace=True, p=odds))


def _beards(rng: np.random.Generator, masculine: float) -> tuple[str, ...]:
    if masculine < 0.55:
        return ("none",)
    chosen = rng.choice(BEARDS, size=2, p=[0.4, 0.22, 0.1, 0.1, 0.18])
    return ("none", *(str(x) for x in chosen))
