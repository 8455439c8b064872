"""Pairs that come twice: one rule for lists of one's own, one for published sets."""

from __future__ import annotations

import numpy as np
import pytest

from frfw.data import write_pack
from frfw.errors import FrfwError
from frfw.evaluation import Extraction, evaluate_sets, load_pairs
from frfw.evaluation.table import results_table

EYE = np.eye(8, dtype=np.float32)


def embeddings(path, pairs, same, form):
    """Write pairs of rows of the identity matrix, in one of the two forms of an `.npz`."""
    a, b = (EYE[[pair[side] for pair in pairs]] for side in (0, 1))
    if form == "a and b":
        np.savez(path, embeddings_a=a, embeddings_b=b, same=same)
    else:  # every row on its own, so that equal ones have different numbers
        rows = np.concatenate([a, b])
        np.savez(path, embeddings=rows, pairs=np.arange(len(rows)).reshape(2, -1).T, same=same)
    return path


@pytest.mark.parametrize("form", ["a and b", "rows"])
def test_embeddings(tmp_path, form):
    pairs = [(0, 1), (2, 3), (4, 5), (1, 0)]
    path = embeddings(tmp_path / "own.npz", pairs, [1, 0, 0, 1], form)
    with pytest.raises(FrfwError, match=r"own\.npz: 1 pair comes more than once: pair 3 is pair 0"):
        load_pairs(path)
    found = load_pairs({"path": str(path), "allow_duplicates": True})
    assert found.details == {"repeated_pairs": 1, "repeated": ["pair 3 is pair 0 again"]}
    who = found.identities[found.pairs]
    assert who[0].tolist() == who[3].tolist()  # equal rows are one image, of one person
    path = embeddings(tmp_path / "own.npz", pairs, [1, 0, 0, 0], form)
    with pytest.raises(FrfwError, match="pair 3 calls two images different that pair 0 calls same"):
        load_pairs(path)


def test_lines_of_a_csv_are_named(people):
    path = people / "own.csv"
    head = "path_a,path_b,same\n\n"
    same, other = "p00/p00_0001.png,p00/p00_0002.png", "p00/p00_0001.png,p01/p01_0002.png"
    path.write_text(f"{head}{same},1\n{other},0\n{same},0\n")
    message = "line 5 calls two images different that line 3 calls same .* correct them"
    with pytest.raises(FrfwError, match=message):
        load_pairs(path)
    path.write_text(f"{head}{same},1\n{other},0\n{other},0\n")
    with pytest.raises(FrfwError, match="1 pair comes more than once: line 5 is line 4 again"):
        load_pairs(path)


def test_packs_are_scored_with_their_repeats_and_refused_with_contradictions(people, tmp_path):
    import torch

    def embed(images):
        return torch.nn.functional.adaptive_avg_pool2d(images.float(), 4).flatten(1)

    data = [(people / f"p{w:02d}" / f"p{w:02d}_000{n}.png").read_bytes()
            for w, n in ((0, 1), (0, 2), (0, 1), (1, 1), (2, 1), (2, 2), (0, 2), (0, 1))]  # fmt: skip
    write_pack(tmp_path / "set.bin", data, [True, False, True, True])
    found = load_pairs(tmp_path / "set.bin")
    assert found.details["repeated"] == ["pair 3 is pair 0 again"]
    results = evaluate_sets(embed, {"set": found}, Extraction(size=32), folds=2)
    assert "set: 1 repeated pairs, e.g. pair 3 is pair 0 again" in results_table(results)
    write_pack(tmp_path / "set.bin", data, [True, False, True, False])
    with pytest.raises(FrfwError, match=r"set\.bin: pair 3 calls two images different that pair 0"):
        load_pairs(tmp_path / "set.bin")
    found = load_pairs({"path": str(tmp_path / "set.bin"), "allow_duplicates": True})
    assert found.details["disputed_pairs"] == 1


def test_damaged_images_are_called_by_their_place_in_the_pack(people, tmp_path):
    first, second = ((people / "p00" / f"p00_000{n}.png").read_bytes() for n in (1, 2))
    data = [first, second, first, second[:90], first, second, second[:90], first]
    write_pack(tmp_path / "set.bin", data, [True, False, True, False])
    images = load_pairs(tmp_path / "set.bin").images
    assert len(images) == 3
    where = r"set\.bin, image 3 \(of pair 1, both counted from 0\)"
    with pytest.raises(FrfwError, match=where):
        images.read(2)
    with pytest.raises(FrfwError, match=where):  # also where only some of them are scored
        images.subset([2]).read(0)
