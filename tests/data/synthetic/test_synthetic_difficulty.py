"""Raw pixels do not solve the verification sets, and lfw is the easiest of them."""

import importlib.util
from pathlib import Path

import pytest

from frfw.data.synthetic import Parameters, write_dataset

SCRIPT = Path(__file__).parents[3] / "scripts" / "synthetic_difficulty.py"


@pytest.mark.slow
def test_pca_on_pixels_stays_low(tmp_path):
    spec = importlib.util.spec_from_file_location("synthetic_difficulty", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    p = Parameters(identities=24, images_per_identity=8, size=64, pairs=160)
    write_dataset(tmp_path / "set", p, contact=False)
    found = script.measure(tmp_path / "set")
    best = {name: max(variants.values()) for name, variants in found.items()}
    assert set(best) == {"lfw", "cfp_fp", "agedb_30"}
    assert 54 < best["lfw"] < 80  # 160 pairs: a standard error of 4 points
    assert best["cfp_fp"] < best["lfw"] + 4
    assert best["agedb_30"] < best["lfw"] + 4
