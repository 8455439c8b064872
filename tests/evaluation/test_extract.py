"""Extraction: order, flip, precision, and two processes that equal one."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch

from frfw.errors import FrfwError
from frfw.evaluation import Extraction, extract, load_pairs
from frfw.evaluation.plots import histogram_figure, roc_figure, save_figure


def embed(images):
    x = torch.nn.functional.adaptive_avg_pool2d(images.float(), 4).flatten(1)
    return x - x.mean(dim=1, keepdim=True)


def test_order_and_flip_by_hand(pair_csv):
    images = load_pairs(pair_csv).images
    rows = extract(embed, images, Extraction(size=32, batch_size=5, flip=True))
    for at in (0, 7, len(images) - 1):
        pixels = torch.from_numpy(images.read(at, 32)).permute(2, 0, 1)[None]
        both = (embed(pixels) + embed(pixels.flip(3))).numpy()[0]
        assert rows[at] == pytest.approx(both / np.linalg.norm(both), abs=1e-6)
    alone = extract(embed, images, Extraction(size=32, batch_size=64, flip=False))
    assert not np.allclose(alone, rows, atol=1e-3)
    whole = extract(embed, images, Extraction(size=32, flip=False), normalise=False)
    assert np.linalg.norm(whole, axis=1).min() > 10


def test_precision_reaches_the_network(pair_csv):
    images = load_pairs(pair_csv).images
    layer = torch.nn.Linear(48, 8)
    seen = []

    def network(x):
        y = layer(embed(x) / 255)
        seen.append(y.dtype)
        return y

    extract(network, images, Extraction(size=32, precision="bf16"))
    extract(network, images, Extraction(size=32))
    assert set(seen) == {torch.bfloat16, torch.float32}
    with pytest.raises(FrfwError, match="Did you mean 'bf16'"):
        Extraction(precision="b16")


def test_unreadable_image_is_named(pair_csv):
    images = load_pairs(pair_csv).images
    images.items[5].write_bytes(b"\x89PNG nothing")
    with pytest.raises(FrfwError, match=images.items[5].name):
        extract(embed, images, Extraction(size=32))


def test_figures_are_drawn(pair_csv, tmp_path):
    from frfw.evaluation import evaluate_sets

    results = evaluate_sets(embed, {"some": pair_csv}, Extraction(size=32))
    assert save_figure(roc_figure(results), tmp_path / "roc.png").stat().st_size > 5000
    figure = histogram_figure(results["some"])
    assert save_figure(figure, tmp_path / "scores.png").stat().st_size > 5000


_WORKER = """
    import sys
    import numpy as np, torch, torch.distributed as dist
    from frfw.evaluation import EmbeddingCache, Extraction, evaluate_sets, load_pairs

    rank, store, csv, broken = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4] == "broken"
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method="file://" + store, rank=rank, world_size=2)
    calls = []

    def embed(images):
        calls.append(len(images))
        x = torch.nn.functional.adaptive_avg_pool2d(images.float(), 4).flatten(1)
        return (x - x.mean(dim=1, keepdim=True)) * (float("nan") if broken and rank else 1.0)

    cache = EmbeddingCache(store + "_cache", "m", "p")
    how = Extraction(size=32, batch_size=16)
    result = evaluate_sets(embed, {"set": csv}, how, cache=cache)["set"]
    if rank == 1:  # ranks need not finish together
        again = evaluate_sets(embed, {"set": csv}, how, cache=cache)["set"]
    else:
        again = evaluate_sets(None, {"set": csv}, how, cache=cache)["set"]
    assert np.array_equal(again.scores, result.scores)
    np.savez(store + f"_{rank}.npz", scores=result.scores, images=sum(calls))
    dist.destroy_process_group()
"""


def two_processes(tmp_path, csv, mode="whole"):
    code = textwrap.dedent(_WORKER)
    store = str(tmp_path / "store")
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(rank), store, str(csv), mode],
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    return [(w.communicate(timeout=120)[1], w.returncode) for w in workers]


@pytest.mark.slow
def test_two_processes_equal_one(pair_csv, tmp_path):
    from frfw.evaluation import evaluate_sets

    one = evaluate_sets(embed, {"set": pair_csv}, Extraction(size=32, batch_size=16))["set"]
    for told, code in two_processes(tmp_path, pair_csv):
        assert code == 0, told
    found = [np.load(tmp_path / f"store_{rank}.npz") for rank in range(2)]
    for file in found:
        assert np.allclose(file["scores"], one.scores, atol=1e-6)
    count = len(load_pairs(pair_csv).images)
    assert [int(f["images"]) // 2 for f in found] == [count // 2, count - count // 2]


@pytest.mark.slow
def test_failure_on_one_process_ends_both(pair_csv, tmp_path):
    (first, code_a), (second, code_b) = two_processes(tmp_path, pair_csv, "broken")
    assert code_a != 0
    assert code_b != 0
    assert "process 1 could not embed its share" in first
    assert "its embedding is not numbers" in second
