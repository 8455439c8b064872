"""A tiny data set that a network can learn: coloured blobs, one colour and place an identity."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from frfw.data import RecordWriter, write_pack

SIZE, IDENTITIES, IMAGES = 32, 8, 6


def blob(identity: int, rng: np.random.Generator) -> bytes:
    """A JPEG of one identity."""
    own = np.random.default_rng(identity)
    image = np.full((SIZE, SIZE, 3), 128, np.uint8)
    centre = own.integers(8, 24, 2) + rng.integers(-2, 3, 2)
    colour = own.integers(0, 255, 3)
    cv2.circle(image, tuple(int(c) for c in centre), 7, tuple(int(c) for c in colour), -1)
    noisy = image + rng.normal(0, 8, image.shape)
    return cv2.imencode(".jpg", np.clip(noisy, 0, 255).astype(np.uint8))[1].tobytes()


def write_blobs(folder: Path) -> Path:
    """Write train.rec and lfw.bin of blobs into `folder`."""
    rng = np.random.default_rng(0)
    with RecordWriter(folder, image_size=(SIZE, SIZE)) as writer:
        for identity in range(IDENTITIES):
            for _ in range(IMAGES):
                writer.add(blob(identity, rng), identity)
    images, same = [], []
    for pair in range(40):
        a = 100 + pair % 7
        b = a if pair % 2 == 0 else 100 + (pair + 3) % 7
        images += [blob(a, rng), blob(b, rng)]
        same.append(a == b)
    write_pack(folder / "lfw.bin", images, same)
    return folder


@pytest.fixture(scope="session")
def blobs(tmp_path_factory) -> Path:
    return write_blobs(tmp_path_factory.mktemp("blobs") / "data")


TINY = [
    "backbone.width=0.25",
    "backbone.embedding_dim=32",
    "evaluation=[lfw]",
    "data.workers=0",
    "trainer.threads=1",
    "trainer.device=cpu",
    "trainer.global_batch_size=12",
    "trainer.steps=6",
    "trainer.log_every=1",
    "trainer.embeddings=false",
    "trainer.check_data=false",
]


class Train:
    """Runs `python -m frfw.train` with tiny settings in an empty folder."""

    settings = TINY

    def __init__(self, blobs: Path, folder: Path) -> None:
        self.blobs, self.folder = blobs, folder

    def command(self, *arguments: str, tiny: bool = True) -> list[str]:
        given = [*TINY, f"data.path={self.blobs}"] if tiny else []
        return [sys.executable, "-m", "frfw.train", *given, *arguments]

    def __call__(self, *arguments: str, tiny: bool = True) -> subprocess.CompletedProcess:
        return subprocess.run(
            self.command(*arguments, tiny=tiny),
            cwd=self.folder,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=240,
        )


@pytest.fixture
def train(blobs, tmp_path) -> Train:
    return Train(blobs, tmp_path)
