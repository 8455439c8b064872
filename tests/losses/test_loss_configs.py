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
