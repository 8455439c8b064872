"""Small sets on disk and an embedding function that needs no network."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch


def face(identity: int, index: int) -> np.ndarray:
    """A 32 x 32 picture: smooth random patches by identity, a little noise by index."""
    coarse = np.random.default_rng(identity).integers(0, 255, (4, 4, 3)).astype(np.uint8)
    image = cv2.resize(coarse, (32, 32), interpolation=cv2.INTER_LINEAR).astype(np.float32)
    image += np.random.default_rng([identity, index]).normal(0, 30, image.shape)
    return np.clip(image, 0, 255).astype(np.uint8)


def embed_pixels(images: torch.Tensor) -> torch.Tensor:
    """(B, 3, H, W) uint8 to (B, 48): centred averages of patches."""
    x = torch.nn.functional.adaptive_avg_pool2d(images.float(), 4).flatten(1)
    return x - x.mean(dim=1, keepdim=True)


@pytest.fixture
def people(tmp_path):
    """A folder of 12 people with 4 images each, `p00/p00_0001.png` on."""
    root = tmp_path / "people"
    for who in range(12):
        folder = root / f"p{who:02d}"
        folder.mkdir(parents=True)
        for index in range(1, 5):
            path = folder / f"p{who:02d}_{index:04d}.png"
            cv2.imwrite(str(path), face(who, index)[..., ::-1])
    return root


def rows_of_pairs(count: int = 40, seed: int = 0) -> list[tuple[str, str, int]]:
    """Distinct pairs over `people`, half of them same."""
    rng = np.random.default_rng(seed)
    rows: dict[tuple[str, str], int] = {}
    while len(rows) < count:
        same = len(rows) % 2
        a, b = rng.choice(12, 2, replace=False)
        i, j = rng.choice(4, 2, replace=False) + 1
        b = a if same else b
        ends = sorted(f"p{w:02d}/p{w:02d}_{n:04d}.png" for w, n in ((a, i), (b, j)))
        rows.setdefault((ends[0], ends[1]), int(same))
    return [(*ends, same) for ends, same in rows.items()]


@pytest.fixture
def pair_csv(people):
    path = people / "pairs.csv"
    lines = [f"{a},{b},{same}" for a, b, same in rows_of_pairs()]
    path.write_text("path_a,path_b,same\n" + "\n".join(lines) + "\n")
    return path
