"""Which name was wrong, and which was meant."""

from __future__ import annotations

import pytest
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException

from frfw import command
from frfw.config import config_dir
from frfw.errors import FrfwError, nearest
from frfw.overrides import composed_keys, explain, refuse_words, renamed


def refusal(config: str, *overrides: str) -> str:
    with (
        pytest.raises(HydraException) as caught,
        initialize_config_dir(str(config_dir()), version_base="1.3"),
    ):
        compose(config, overrides=list(overrides))
    return explain(caught.value, config, list(overrides))


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["loss=curriclar"], "Did you mean 'curricular'"),
        (["backbone=mobilefacnet"], "Did you mean 'mobilefacenet'"),
        (["loss.rat=0.1"], "Did you mean 'loss.rate'"),
        (["loss=adaface", "loss.hh=0.3"], "Did you mean 'loss.h'"),
        (["trainer.presicion=bf16"], "Did you mean 'trainer.precision'"),
        (["optimzer=sgd"], "Did you mean 'optimizer'"),
        (["precision=bf16"], "Did you mean 'trainer.precision'"),
    ],
)
def test_the_nearest_name_is_given(overrides, expected):
    text = refusal("train", *overrides)
    assert expected in text
    assert "\n" not in text


def test_every_config_composes():
    for group in (
        "loss",
        "backbone",
        "augment",
        "optimizer",
        "schedule",
        "weighting",
        "extra_loss",
    ):
        for choice in sorted(p.stem for p in (config_dir() / group).glob("*.yaml")):
            assert composed_keys("train", [f"{group}={choice}"]), f"{group}={choice}"


def test_nearest_is_silent_without_a_likely_name():
    assert nearest("zzz", ["curricular"]) == ""


def test_errors_are_one_line():
    assert command.one_line(FrfwError("a\n  b")) == "a b"
    assert command.one_line(KeyError("x")).startswith("KeyError: 'x'")


def test_aliases():
    given = ["loss.warmup=0.1,0.2", "-m", "loss=arcface", "loss.m=0.5", "name=loss.warmup"]
    assert renamed(given) == ["finetune.warmup=0.1,0.2", *given[1:]]


@pytest.mark.parametrize("argument", ["a.b=off", "a=On", "+a=yes", "a=true,no"])
def test_words_for_true_and_false_are_refused(argument):
    with pytest.raises(FrfwError, match="=true or "):
        refuse_words(["x=1", argument])


def test_other_texts_are_not():
    refuse_words(["name=no", "name=nose", "loss=softmax", "x='off'", "--help", "y=", "z=[on,off]"])
