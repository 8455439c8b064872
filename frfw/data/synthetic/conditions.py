"""What differs between two pictures of a person: pose, expression, age, light, camera and so on.

`draw_conditions` samples them for a scene ("train", "mild", "frontal", "profile", "young", "old");
any field can be given by name instead.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from frfw.data.synthetic.identity import BEARDS, HAIR_STYLES, Identity
from frfw.errors import FrfwError, nearest


@dataclass(frozen=True)
class Difficulty:
    """How strongly pictures of a person differ; 1 is the default of each, 0 switches it off.

    Attributes:
        pose: spread of the head's angles.
        expression: strength of smiles, open mouths, brows, gaze.
        light: contrast and colour of the light, exposure.
        occlusion: how often glasses, caps and masks are worn.
        style: how often hair and beard change between pictures.
        age: spread of the age between pictures.
        quality: blur, noise, JPEG, low resolution.
        alignment: error of the landmarks that the crop is aligned by.
        spread: how far people differ from each other (smaller is harder).
    """

    pose: float = 1.0
    expression: float = 1.0
    light: float = 1.0
    occlusion: float = 1.0
    style: float = 1.0
    age: float = 1.0
    quality: float = 1.0
    alignment: float = 1.0
    spread: float = 1.0


@dataclass(frozen=True)
class Conditions:
    """All that a picture adds to a person. Angles in degrees, age in years, lengths in mm.

    Attributes:
        yaw, pitch, roll: head angles; yaw 90 is a full profile. Alignment takes roll out again.
        distance: from the camera to the head.
        age: years; the person's wrinkles, sagging, grey hair follow it.
        smile, sad, jaw, pucker, stretch, brow_up, frown, sneer, squint, skew: expressions, 0 to 1.
        blink: 0 open, 1 closed.
        gaze: where the eyes look, (right, down), -1 to 1.
        hair, beard: names of `HAIR_STYLES`, `BEARDS`.
        hair_variant: seed of the style's details.
        makeup: 0 to 1.
        glasses: "" or "clear", "round", "square", "sun".
        cap, mask: worn or not. wear_colour: (3,) RGB of cap or mask.
        light_from: azimuth and elevation of the key light, degrees, relative to the camera.
        key, fill: strength of the key light and of the light from all around.
        warmth, tint: colour of the light.
        exposure: stops. gamma: of the picture.
        blur: sigma in pixels. motion: length in pixels of motion blur and its angle (degrees).
        low: the side in pixels that the picture was scaled down to, 0 for none.
        noise: standard deviation in grey levels. jpeg: quality.
        landmark_error: standard deviation of the landmarks in mm.
        detail_seed: seed of the background, the noise and the landmark errors.
    """

    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    distance: float = 1400.0
    age: float = 32.0
    smile: float = 0.0
    sad: float = 0.0
    jaw: float = 0.0
    pucker: float = 0.0
    stretch: float = 0.0
    brow_up: float = 0.0
    frown: float = 0.0
    sneer: float = 0.0
    squint: float = 0.0
    skew: float = 0.0
    blink: float = 0.0
    gaze: tuple[float, float] = (0.0, 0.0)
    hair: str = "short"
    beard: str = "none"
    hair_variant: int = 0
    makeup: float = 0.0
    glasses: str = ""
    cap: bool = False
    mask: bool = False
    wear_colour: tuple[float, float, float] = (60.0, 90.0, 150.0)
    light_from: tuple[float, float] = (20.0, 35.0)
    key: float = 0.7
    fill: float = 0.45
    warmth: float = 0.0
    tint: float = 0.0
    exposure: float = 0.0
    gamma: float = 1.0
    blur: float = 0.3
    motion: tuple[float, float] = (0.0, 0.0)
    low: int = 0
    noise: float = 2.0
    jpeg: int = 92
    landmark_error: float = 0.0
    detail_seed: int = 0


@dataclass(frozen=True)
class Scene:
    """Ranges from which a scene's conditions are drawn."""

    yaw: tuple[float, float]  # spread of a normal, share of profiles
    centre_yaw: float = 0.0  # of the profile (either side)
    pitch: float = 9.0
    age: tuple[float, float] = (18.0, 75.0)
    age_spread: float = 8.0
    wild: float = 1.0  # light, expression, quality, occlusion relative to training


SCENES = {
    "train": Scene(yaw=(28.0, 0.16), age_spread=13.0),
    "mild": Scene(yaw=(12.0, 0.0), pitch=5.0, age_spread=5.0, wild=0.65),
    "frontal": Scene(yaw=(7.0, 0.0), pitch=6.0, age_spread=6.0),
    "profile": Scene(yaw=(6.0, 1.0), centre_yaw=82.0, pitch=7.0, age_spread=6.0),
    "young": Scene(yaw=(17.0, 0.0), pitch=7.0),
    "old": Scene(yaw=(17.0, 0.0), pitch=7.0),
}


def draw_conditions(
    identity: Identity,
    index: int,
    scene: str = "train",
    difficulty: Difficulty | None = None,
    **given: Any,
) -> Conditions:
    """Sample the conditions of picture ``index`` of a person, a function of its seeds only.

    Args:
        identity: the person; hair styles and beards are the person's own.
        index: number of the picture.
        scene: a key of `SCENES`.
        difficulty: strengths, by default all 1.
        given: fields of `Conditions` to set instead of sampling.

    Raises:
        FrfwError: an unknown scene or field.
    """
    if scene not in SCENES:
        raise FrfwError(f"no scene {scene!r}: one of {', '.join(SCENES)}.{nearest(scene, SCENES)}")
    known = [f.name for f in fields(Conditions)]
    for name in given:
        if name not in known:
            raise FrfwError(f"conditions have no {name!r}.{nearest(name, known)}")
    for name, choices in (("hair", HAIR_STYLES), ("beard", BEARDS)):
        if name in given and given[name] not in choices:
            raise FrfwError(f"{name} is one of {', '.join(choices)}, not {given[name]!r}")
    d, form = difficulty or Difficulty(), SCENES[scene]
    rng = np.random.default_rng([identity.seed, identity.number, int(index), 23])
    values = {
        **_pose(rng, form, d),
        **_expression(rng, d.expression * form.wild),
        **_age(identity, rng, scene, form, d),
        **_style(identity, rng, d),
        **_wear(rng, d.occlusion * form.wild),
        **_light(rng, d.light * form.wild),
        **_camera(rng, d, form.wild),
        "detail_seed": int(rng.integers(2**31)),
    }
    conditions = Conditions(**values)
    return replace(conditions, **given) if given else conditions


def _pose(rng: np.random.Generator, form: Scene, d: Difficulty) -> dict[str, Any]:
    spread, profiles = form.yaw
    yaw = float(np.clip(rng.normal(0, spread * d.pose), -75, 75))
    side, turned = rng.choice((-1.0, 1.0)), rng.random()
    profile = side * (form.centre_yaw or rng.uniform(55, 92))
    if turned < profiles * min(1.0, d.pose or 0.0):
        yaw = float(np.clip(profile + (yaw if form.centre_yaw else 0.0), -95, 95))
    return {
        "yaw": yaw,
        "pitch": float(np.clip(rng.normal(0, form.pitch * d.pose), -28, 28)),
        "roll": float(rng.normal(0, 8 * d.pose)),
        "distance": float(np.exp(rng.uniform(np.log(500), np.log(2500)))),
    }


def _expression(rng: np.random.Generator, strength: float) -> dict[str, Any]:
    some = {}
    odds = {"smile": 0.5, "sad": 0.12, "jaw": 0.3, "pucker": 0.1, "stretch": 0.2, "brow_up": 0.25,
            "frown": 0.25, "sneer": 0.1, "squint": 0.25, "skew": 0.15}  # fmt: skip
    for name, share in odds.items():
        happens, much = rng.random() < share, rng.beta(1.6, 1.8)
        some[name] = float(min(1.0, much * strength)) if happens else 0.0
    shut = rng.random() < 0.04 * strength
    some["blink"] = float(rng.uniform(0.8, 1) if shut else rng.beta(1, 6) * min(strength, 1))
    some["gaze"] = tuple(np.clip(rng.normal(0, [0.4, 0.25]) * strength, -1, 1).tolist())
    return some


def _age(
    identity: Identity, rng: np.random.Generator, scene: str, form: Scene, d: Difficulty
) -> dict[str, Any]:
    own = np.random.default_rng([identity.seed, identity.number, 31])
    centre = float(own.uniform(24, 62))
    if scene in ("young", "old"):
        # The pictures of one person lie 30 years apart, give or take a year.
        start = float(own.uniform(20, 42))
        age = start + (30.0 * d.age if scene == "old" else 0.0) + float(rng.uniform(-1, 1))
    else:
        age = centre + float(rng.normal(0, form.age_spread * d.age))
    return {"age": float(np.clip(age, *form.age))}


def _style(identity: Identity, rng: np.random.Generator, d: Difficulty) -> dict[str, Any]:
    change = rng.random() < 0.65 * d.style
    pick, shave = int(rng.integers(1, 3)), int(rng.integers(len(identity.beards)))
    wears = 0.6 * (1 - identity.masculine) if rng.random() < 0.6 else 0.0
    own = identity.number * 7 + identity.seed
    return {
        "hair": identity.hair_styles[pick if change else 0],
        "beard": identity.beards[shave if rng.random() < d.style else -1],
        "hair_variant": int(rng.integers(2**20)) if change else own % 2**20,
        "makeup": float(wears * rng.random()),
    }


def _wear(rng: np.random.Generator, strength: float) -> dict[str, Any]:
    u = rng.random(3)
    kind = ("clear", "round", "square", "sun")[int(rng.choice(4, p=[0.35, 0.2, 0.3, 0.15]))]
    colour = rng.uniform(15, 235, 3) * (0.4 + 0.6 * rng.random())
    mask = bool(u[2] < 0.05 * strength)
    if mask and rng.random() < 0.6:
        colour = np.array([150.0, 195.0, 220.0]) if rng.random() < 0.6 else np.full(3, 235.0)
    return {
        "glasses": kind if u[0] < 0.16 * strength else "",
        "cap": bool(u[1] < 0.08 * strength),
        "mask": mask,
        "wear_colour": tuple(float(x) for x in colour),
    }


def _light(rng: np.random.Generator, strength: float) -> dict[str, Any]:
    hard = float(np.clip(rng.beta(1.6, 1.6) * strength, 0, 1))
    return {
        "light_from": (float(rng.uniform(-100, 100)), float(rng.normal(28, 24))),
        "key": 0.35 + 0.75 * hard,
        "fill": 0.66 - 0.48 * hard,
        "warmth": float(rng.normal(0, 0.13 * strength)),
        "tint": float(rng.normal(0, 0.05 * strength)),
        "exposure": float(np.clip(rng.normal(0, 0.45 * strength), -1.3, 1.0)),
        "gamma": float(np.exp(rng.normal(0, 0.13 * strength))),
    }


def _camera(rng: np.random.Generator, d: Difficulty, wild: float) -> dict[str, Any]:
    q = d.quality * wild
    moves, small = rng.random() < 0.12 * q, rng.random() < 0.18 * q
    return {
        "blur": float(0.25 + rng.gamma(1.2, 0.28) * q),
        "motion": (float(rng.uniform(2, 6)) if moves else 0.0, float(rng.uniform(0, 180))),
        "low": int(rng.integers(34, 84)) if small else 0,
        "noise": float(rng.gamma(1.4, 2.4) * q),
        "jpeg": int(np.clip(96 - rng.gamma(1.6, 11.0) * q, 35, 96)),
        "landmark_error": 1.1 * d.alignment,
    }
