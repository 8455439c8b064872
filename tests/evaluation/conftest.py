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


def save_model(folder, broken=False):
    """Write a run folder with a small untrained network; all its weights NaN when `broken`."""
    import frfw
    from frfw.data import Preprocessing
    from frfw.training import checkpoint

    torch.manual_seed(0)
    weights = frfw.create_backbone("mobilefacenet", embedding_dim=32).state_dict()
    if broken:
        weights = {k: v * float("nan") if v.is_floating_point() else v for k, v in weights.items()}
    content = {
        "format": checkpoint.FORMAT,
        "backbone": weights,
        "ema": None,
        "config": {"backbone": {"name": "mobilefacenet", "embedding_dim": 32}},
        "preprocessing": Preprocessing().to_dict(),
        "data": {"fingerprint": "0", "classes": 2, "images": 2},
    }
    checkpoint.save(content, folder / "checkpoints" / "best.pt")
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A run folder with a small untrained network."""
    return save_model(tmp_path_factory.mktemp("runs") / "small")


@pytest.fixture
def broken_model(tmp_path):
    """The same network with weights that are not numbers."""
    return save_model(tmp_path / "broken", broken=True)


@pytest.fixture
def faces(people):
    """The people at the network's size."""
    for path in people.rglob("*.png"):
        cv2.imwrite(str(path), cv2.resize(cv2.imread(str(path)), (112, 112)))
    return people
