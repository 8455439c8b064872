"""Made-up run folders, with everything in them that a real run leaves."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
import yaml

from frfw.evaluation import verify
from frfw.tracking.worst import store_worst


def config(loss="curricular", m=0.5, seed=1):
    return {
        "loss": {"name": loss, "m": m, "s": 64.0},
        "backbone": {"name": "mobilefacenet", "embedding_dim": 512, "input_size": None},
        "data": {"name": "synthetic", "path": "data/synthetic", "workers": 2},
        "optimizer": {"name": "sgd", "base_lr": 0.1, "momentum": 0.9},
        "trainer": {"global_batch_size": 128, "epochs": 8, "precision": "fp32"},
        "evaluation": ["lfw", "cfp_fp"],
        "name": None,
        "seed": seed,
    }


def metrics(steps, seed, quality, diverges):
    rng = np.random.default_rng(seed)
    for step in [1, *range(10, steps + 1, 10)]:
        done = step / steps
        learnt = quality * (1 - np.exp(-4 * done))
        noise = rng.normal(0, 1, 8)
        line = {
            "step": step,
            "time": 0.2 * step,
            "train/loss": 38 * (1 - learnt) + 4 + noise[0],
            "train/lr": 0.1 * min(1, done * 10) * (1 - done) ** 2,
            "train/grad_norm": 6 - 3 * learnt + 0.5 * noise[1],
            "train/images_per_s": 610 + 25 * noise[2],
            "train/data_wait": abs(0.02 + 0.01 * noise[3]),
            "head/accuracy_no_margin": float(np.clip(learnt + 0.03 * noise[4], 0, 1)),
            "head/accuracy_margin": float(np.clip(learnt - 0.3 + 0.03 * noise[5], 0, 1)),
            "head/cos_target_mean": 0.72 * learnt,
            "head/cos_target_p10": 0.72 * learnt - 0.2,
            "head/cos_target_p50": 0.72 * learnt,
            "head/cos_target_p90": 0.72 * learnt + 0.13,
            "head/max_negative_cos": 0.3 - 0.1 * learnt,
            "head/hard_share": 0.4 * (1 - learnt),
            "head/feature_norm": 12 + 9 * learnt,
            "head/t": 0.7 * learnt,
            "head/M_mean": 0.2 + learnt,
            "head/M_min": 0.05 + 0.6 * learnt,
            "head/M_max": 0.5 + 1.3 * learnt,
        }
        if diverges and done > 0.4:
            line["train/loss"] = "nan"
        yield line
        if step % (steps // 8 // 10 * 10) == 0:
            values = {f"val/{name}/accuracy": 0.5 + 0.47 * learnt * easy
                      for name, easy in (("lfw", 1), ("cfp_fp", 0.8))}  # fmt: skip
            yield {"step": step, "time": 0.2 * step, **values}


def evaluate(folder, name, quality, seed, people=60, pairs=1200):
    """Score made-up embeddings, so that the files are what a real evaluation writes."""
    # One draw of pairs for all seeds: runs are compared on the same test.
    layout = np.random.default_rng(7)
    identity = layout.integers(0, people, (pairs, 2))
    same = np.arange(pairs) % 2 == 0
    identity[same, 1] = identity[same, 0]
    clash = ~same & (identity[:, 0] == identity[:, 1])
    identity[clash, 1] = (identity[clash, 0] + 1) % people
    rng = np.random.default_rng(seed)
    centres = layout.normal(size=(people, 32))
    noise = rng.normal(size=(2, pairs, 32)) * (1.6 - quality)
    sides = [centres[identity[:, s]] + noise[s] for s in (0, 1)]
    sides = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in sides]
    result = verify(*sides, same)
    result.name = name
    pairs_of_images = np.arange(2 * pairs).reshape(pairs, 2)
    result.pairs = pairs_of_images
    spread = 1.96 * result.standard_error
    result.intervals = {"accuracy": (result.accuracy - spread, min(1, result.accuracy + spread))}
    path = result.save(folder)

    def read(index):
        return face(identity[index // 2, index % 2], index)

    store_worst(folder, name, result.scores, same, pairs_of_images, read, 1 - result.threshold / 2)
    return path, result


def face(person, index):
    rng = np.random.default_rng(int(person))
    skin, hair, cloth = (rng.integers(60, 230, 3).tolist() for _ in range(3))
    image = np.full((112, 112, 3), 205 - int(index) * 7 % 90, dtype=np.uint8)
    cv2.ellipse(image, (56, 118), (50, 30), 0, 0, 360, cloth, -1, cv2.LINE_AA)
    cv2.ellipse(image, (56, 52), (37, 43), 0, 0, 360, hair, -1, cv2.LINE_AA)
    cv2.ellipse(image, (56, 62), (29 + person % 5, 37), 0, 0, 360, skin, -1, cv2.LINE_AA)
    for x in (45, 67):
        cv2.circle(image, (x, 58), 3, (30, 30, 30), -1, cv2.LINE_AA)
    cv2.ellipse(image, (56, 80), (10, 4), 0, 0, 180, (120, 40, 40), 2, cv2.LINE_AA)
    return image


def robustness_rows():
    kinds = {"blur": "px", "noise": "", "jpeg": "quality", "low resolution": "px",
             "rotation": "°", "occlusion": "%"}  # fmt: skip
    return [
        {"set": "lfw", "kind": kind, "strength": (k + 1) * grade, "unit": unit,
         "accuracy": 0.93 - 0.02 * grade**1.3 * (1 + k / 3)}
        for k, (kind, unit) in enumerate(kinds.items()) for grade in range(1, 5)
    ]  # fmt: skip


@pytest.fixture(scope="session")
def make_run():
    """Return a function that writes a run folder."""

    def make(folder, loss="curricular", m=0.5, seed=1, quality=0.9, steps=800,
             diverges=False, full=True):  # fmt: skip
        folder.mkdir(parents=True)
        (folder / "config.yaml").write_text(yaml.safe_dump(config(loss, m, seed), sort_keys=False))
        lines = metrics(steps, seed, quality, diverges)
        (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        result = {"status": "diverged" if diverges else "finished", "metrics": {}, "minutes": 2.7}
        if not diverges:
            for name, hard in (("lfw", 0), ("cfp_fp", 0.2)):
                _, found = evaluate(folder / "evaluation", name, quality - hard, seed)
                result["metrics"][name] = {"accuracy": found.accuracy}
        if full:
            environment = {
                "frfw": "0.1.0", "python": "3.11.2", "platform": "Linux 6.1 x86_64",
                "packages": {"torch": "2.15.0", "numpy": "2.3.0"}, "world": 1,
                "git": {"commit": "3665d9d2a1" * 4, "changed": True},
                "cpu": {"name": "a processor with a rather long name @ 2.80GHz", "cores": 2},
                "device": {"type": "cuda", "name": "NVIDIA H200", "memory_gib": 139.8},
                "command": ["train.py", "loss=curricular", "data.path=a/very/long/path/to/data"],
                "started": "2026-01-02T03:04:05+00:00",
            }  # fmt: skip
            (folder / "environment.json").write_text(json.dumps(environment))
            if not diverges:
                robust = {"clean": {"lfw": 0.93}, "rows": robustness_rows()}
                (folder / "evaluation" / "robustness.json").write_text(json.dumps(robust))
        else:
            for path in folder.glob("evaluation/*_worst.npz"):
                path.unlink()
        if diverges:
            result["error"] = "the loss was not finite in 20 steps in a row (from step 330)"
        (folder / "result.json").write_text(json.dumps(result))
        return folder

    return make
