"""Graded changes: they change what they say, grow with strength, and are the same for everyone."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from frfw.errors import FrfwError
from frfw.evaluation import EmbeddingCache, Extraction, load_pairs
from frfw.evaluation.changes import CHANGES
from frfw.evaluation.robustness import (
    robustness,
    robustness_table,
    save_robustness,
)


def smooth(size=112):
    y, x = np.mgrid[0:size, 0:size] / size
    planes = [np.sin(9 * x + 3 * y), np.cos(7 * y - 2 * x), np.sin(20 * x * y)]
    return (127 + 90 * np.stack(planes, axis=-1)).astype(np.uint8)


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_changes_keep_shape_and_grow(change):
    image = smooth()
    apart = []
    for strength in change.strengths:
        changed = change.apply(image, strength, np.random.default_rng(1))
        again = change.apply(image, strength, np.random.default_rng(1))
        assert changed.shape == image.shape
        assert changed.dtype == np.uint8
        assert np.array_equal(changed, again)
        apart.append(np.abs(changed.astype(int) - image).mean())
    assert min(apart) > 0
    if change.name == "scale":  # two shrink, two enlarge, and one is never both
        away = [abs(np.log(strength)) for strength in change.strengths]
        assert away == sorted(away)
        assert apart[2] > apart[0]
        assert apart[3] > apart[1]
    else:
        assert apart == sorted(apart)


def test_shift_moves_by_the_distance_it_says():
    image = np.zeros((100, 100, 3), np.uint8)
    image[50, 50] = 255
    moved = CHANGES["shift"].apply(image, 0.1, np.random.default_rng(3))
    weights = moved[..., 0].astype(float)
    y, x = (np.sum(axis * weights) / weights.sum() for axis in np.mgrid[0:100, 0:100])
    assert np.hypot(y - 50, x - 50) == pytest.approx(10, abs=0.3)


def embed(images):
    x = torch.nn.functional.adaptive_avg_pool2d(images.float(), 4).flatten(1)
    return x - x.mean(dim=1, keepdim=True)


def test_robustness_of_a_set(pair_csv, tmp_path):
    pairs = load_pairs(pair_csv)
    how = Extraction(size=32, batch_size=16)
    result = robustness(embed, pairs, how, changes=["blur", "occlusion"])
    assert len(result.rows) == 8
    assert result.rows[-1]["auc"] <= result.clean["auc"]
    assert [row["strength"] for row in result.rows[:4]] == [0.5, 1, 2, 3]
    assert "occlusion" in robustness_table(result)
    with pytest.raises(FrfwError, match="fold"):  # what evaluation.folds says is heeded
        robustness(embed, pairs, how, changes=["blur"], folds=1)
    cache = EmbeddingCache(tmp_path / "cache", "model", "preprocessing")
    for _ in range(2):
        kept = robustness(embed, pairs, how, changes=["blur", "occlusion"], cache=cache)
        assert kept == result
    assert len(list((tmp_path / "cache").iterdir())) == 9
    content = json.loads(save_robustness([result], tmp_path).read_text())
    assert content["clean"] == {"pairs": result.clean["accuracy"]}
    assert [row["accuracy"] for row in content["rows"]] == [r["accuracy"] for r in result.rows]
    with pytest.raises(FrfwError, match="Did you mean 'blur'"):
        robustness(embed, pairs, how, changes=["blurr"])
