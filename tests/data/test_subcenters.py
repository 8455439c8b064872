"""clean --subcenters: the labels judged by a trained head's own sub-centres."""

from __future__ import annotations

import csv
import subprocess
import sys

import numpy as np
import pytest
import torch

from frfw.data import open_source
from frfw.data.subcenters import judge, write_identities
from frfw.errors import FrfwError
from frfw.training import checkpoint


@pytest.fixture
def trained(make_folder, tmp_path):
    """A set of 3 x 8 images, its embeddings, and the checkpoint of a head with two sub-centres."""
    dataset = open_source(make_folder([8] * 3))
    rng = np.random.default_rng(0)
    centres = np.linalg.qr(rng.standard_normal((16, 16)))[0][:6].astype(np.float32)  # 2 a class
    points = centres[2 * dataset.labels] + 0.05 * rng.standard_normal((24, 16))
    points[3] = centres[1]  # an image of identity 0 that gathers at its other centre
    points = (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)
    points[9] = 0  # a bad image
    path = tmp_path / "checkpoints" / "last.pt"
    content = {
        "format": checkpoint.FORMAT,
        "config": {"loss": {"name": "subcenter_arcface", "sub_centers": 2}},
        "head": {"weight": torch.from_numpy(centres)},
        "data": {"fingerprint": dataset.fingerprint, "classes": 3},
    }
    checkpoint.save(content, path)
    return path, dataset, points


def test_noisy_images_and_identities(trained, tmp_path):
    path, dataset, points = trained
    report = judge(path, dataset, points)
    assert report.noisy.nonzero()[:, 0].tolist() == [3]
    write_identities(report, dataset, tmp_path / "subcenters.csv")
    with open(tmp_path / "subcenters.csv", newline="") as file:
        first = next(csv.DictReader(file))
    assert (first["identity"], first["at_0"], first["at_1"], first["noisy"]) == (
        "id000", "7", "1", "1",
    )  # fmt: skip
    assert float(first["spread_degrees"]) == pytest.approx(90, abs=0.01)


def test_refusals(trained, make_folder):
    path, dataset, points = trained
    with pytest.raises(FrfwError, match="trained on another data set"):
        judge(path, open_source(make_folder([9] * 3, name="other")), points)
    content = checkpoint.load(path)
    content["config"]["loss"] = {"name": "arcface"}
    checkpoint.save(content, path)
    with pytest.raises(FrfwError, match="one centre an identity"):
        judge(path, dataset, points)


@pytest.mark.slow
def test_command(make_folder, tmp_path):
    """A real run, judged: the patch holds an image for each that is noisy or an outlier."""
    data = make_folder([6] * 4)
    train = [
        "frfw.train", "loss=subcenter_arcface", "data=folder", f"data.path={data}", "data.size=32",
            "name=run", "trainer.check_data=false",
        "backbone.width=0.25", "backbone.embedding_dim=16", "trainer.steps=4", "data.workers=0",
        "trainer.global_batch_size=8", "evaluation=[]", "trainer.report=false",
        "trainer.embeddings=false", "trainer.threads=1",
    ]  # fmt: skip
    clean = ["frfw.data", "clean", str(data), "--model", "runs/run", "--subcenters", "40"]
    for command in (train, clean):
        line = [sys.executable, "-m", *command]
        done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert "40 degrees from the dominant sub-centre" in done.stdout
    with open(tmp_path / "clean" / "subcenters.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert sum(int(row["images"]) for row in rows) == 24
    noisy = sum(int(row["noisy"]) for row in rows)
    patch = (tmp_path / "clean" / "patch.csv").read_text()
    assert noisy > 0
    assert patch.count("drop_image") >= noisy
