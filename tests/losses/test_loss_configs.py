"""Every config of the loss groups builds, and its keys are the loss's parameters."""

from __future__ import annotations

import inspect

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from frfw.config import config_dir
from frfw.losses import (
    create_embedding_loss,
    create_formula,
    create_weighting,
    embedding_loss_names,
    formula_names,
)


def choices(group):
    return sorted(p.stem for p in (config_dir() / group).glob("*.yaml"))


def load(group, name):
    with initialize_config_dir(str(config_dir() / group), version_base="1.3"):
        return OmegaConf.to_container(compose(name))


def parameters(module):
    return set(inspect.signature(type(module)).parameters) - {"dim", "classes"}


@pytest.mark.parametrize("choice", choices("loss"))
def test_loss(choice):
    options = load("loss", choice)
    name = options.pop("name")
    if name in embedding_loss_names():
        module = create_embedding_loss(name, 8, 4, **options)
    else:
        module = create_formula(name, **options)
    assert set(options) == parameters(module)


def test_every_loss_has_a_config_with_its_defaults():
    assert set(formula_names()) | set(embedding_loss_names()) <= set(choices("loss"))
    for name in formula_names():
        options = load("loss", name)
        assert options.pop("name") == name
        signature = inspect.signature(type(create_formula(name))).parameters
        assert options == {key: p.default for key, p in signature.items()}


EASY = {"easy_margin": "positive"}
PRESETS = {  # preset: (loss, every value in which that code differs from the loss's defaults)
    "adaface_class": ("adaface", {"t_alpha": 1.0}),
    "adaface_official": ("adaface", {}),
    "arcface_elasticface": ("arcface", {"beyond_pi": "none"}),
    "arcface_facexzoo": ("arcface", {"s": 32.0, "m": 0.35, "beyond_pi": "cosine"}),
    "arcface_insightface": ("arcface", {}),
    "arcface_svx": ("arcface", {"s": 32.0, "m": 0.35, "beyond_pi": "none", **EASY}),
    "arcface_torch": ("arcface", {"gradient": "straight_through", "beyond_pi": "none"}),
    "circle_facexzoo": ("circle", {}),
    "combined_torch": ("combined", {"m2": 0.0, "m3": 0.4}),
    "cosface_facexzoo": ("cosface", {"s": 32.0}),
    "cosface_svx": ("cosface", {"s": 32.0, **EASY}),
    "cosface_torch": ("cosface", {"m": 0.4}),
    "curricular_facexzoo": ("curricular", {}),
    "curricular_official": ("curricular", {}),
    "curricular_tface": ("curricular", {"rate": 0.1}),
    "elastic_arc_class": ("elastic_arc", {"std": 0.0125}),
    "elastic_arc_official": ("elastic_arc", {}),
    "elastic_arc_plus": ("elastic_arc", {"std": 0.0175, "plus": True}),
    "elastic_cos_class": ("elastic_cos", {"std": 0.0125}),
    "elastic_cos_official": ("elastic_cos", {}),
    "elastic_cos_plus": ("elastic_cos", {"std": 0.02, "plus": True}),
    "magface_facexzoo": (
        "magface",
        {"s": 32.0, "lambda_g": 20.0, "beyond_pi": "cosine", "easy_margin": "none"},
    ),
    "magface_official": ("magface", {}),
    "mv_am_facexzoo": ("mv_am", {"t": 1.12, "easy_margin": "margin"}),
    "mv_am_svx": ("mv_am", EASY),
    "mv_arc_facexzoo": ("mv_arc", {"t": 1.12, **EASY}),
    "mv_arc_svx": ("mv_arc", EASY),
    "normface": ("softmax", {}),
    "npcface_facexzoo": ("npcface", {}),
    "sphereface_svx": ("sphereface", {}),
    "triplet_pml": ("triplet", {"margin": 0.05, "mining": "all", "nonzero": True}),
}


def test_every_preset_has_its_values():
    losses = {*formula_names(), *embedding_loss_names()}
    assert set(PRESETS) | losses == set(choices("loss"))
    loaded = {name: load("loss", name) for name in PRESETS}
    base = {loss: load("loss", loss) for loss, _ in PRESETS.values()}
    assert loaded == {name: {**base[loss], **own} for name, (loss, own) in PRESETS.items()}


@pytest.mark.parametrize("choice", choices("weighting"))
def test_weighting(choice):
    options = load("weighting", choice)
    module = create_weighting(options.pop("name"), **options)
    assert set(options) == parameters(module)


@pytest.mark.parametrize("choice", choices("extra_loss"))
def test_extra_loss(choice):
    options = load("extra_loss", choice)
    name = options.pop("name")
    if name == "none":
        assert options == {}
        return
    assert options.pop("weight") > 0
    module = create_embedding_loss(name, 8, 4, **options)
    assert set(options) == parameters(module)
