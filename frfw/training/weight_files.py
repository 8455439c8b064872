"""New weight files from checkpoints: the average of several, and safetensors."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from frfw.errors import FrfwError
from frfw.training import checkpoint
from frfw.training.finetune import read_weights


def average(paths: Sequence[str | Path], output: Path, overwrite: bool = False) -> list[Path]:
    """Write the mean of checkpoints' backbones (and heads) as a checkpoint; return the sources.

    Averaging weights from the end of one run, or of runs that began alike, often generalises better
    than any of them (Izmailov et al. 2018, Wortsman et al. 2022). Batch norm's running statistics
    are averaged as well; whole-number buffers and everything else come from the checkpoint with
    most steps. The result has no optimizer state: evaluate it, export it, or `init_from=` it.

    Args:
        paths: checkpoint files, or run folders, whose `step_*.pt` are all taken.

    Raises:
        FrfwError: fewer than two, of different networks, or `output` is there already.
    """
    files = [file for path in paths for file in _files(Path(path))]
    if len(files) < 2:
        raise FrfwError(
            f"averaging takes at least two checkpoints, found {len(files)}; give several files, or "
            "a run folder whose trainer.keep_checkpoints kept several"
        )
    _refuse_existing(output, overwrite)
    contents = sorted((checkpoint.load(f) for f in files), key=lambda c: c["counters"]["step"])
    newest = contents[-1]
    for file, content in zip(files, contents):
        _same_network(newest["backbone"], content["backbone"], file)
    heads = [c["head"] for c in contents]
    same_heads = all(
        c["head_shards"] is None
        and c["data"]["fingerprint"] == newest["data"]["fingerprint"]
        and {k: v.shape for k, v in c["head"].items()}
        == {k: v.shape for k, v in newest["head"].items()}
        for c in contents
    )
    result = {
        **newest,
        "backbone": mean_state([c["backbone"] for c in contents]),
        "head": mean_state(heads) if same_heads else newest["head"],
        "ema": None,
        "optimizer": {},
        "best": {"metric": None, "value": None, "step": None},
        "averaged": [str(f) for f in files],
    }
    checkpoint.save(result, output)
    return files


def mean_state(states: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Average state dicts in float64; whole-number tensors are the last one's."""
    mean = {}
    for key, last in states[-1].items():
        mean[key] = last
        if last.is_floating_point():
            total = sum((s[key].double() for s in states), torch.zeros((), dtype=torch.float64))
            mean[key] = (total / len(states)).to(last.dtype)
    return mean


def to_safetensors(path: str | Path, output: Path | None, overwrite: bool = False) -> Path:
    """Write a backbone's weights (averaged ones where kept) as a safetensors file.

    The metadata hold step, config and preprocessing as JSON. `init_from=` reads the file.

    Args:
        output: the file to write; None: beside the checkpoint, with the ending `.safetensors`.

    Raises:
        FrfwError: unreadable input, or `output` is there already.
    """
    from safetensors.torch import save_file

    weights = read_weights(path)
    output = output or weights.path.with_suffix(".safetensors")
    _refuse_existing(output, overwrite)
    metadata = {"format": "pt"}
    content = weights.checkpoint
    if content is not None:
        metadata |= {
            "step": str(content["counters"]["step"]),
            "config": json.dumps(content["config"]),
            "preprocessing": json.dumps(content["preprocessing"]),
            "classes": str(content["data"]["classes"]),
        }
    tensors = {k: v.detach().contiguous().clone() for k, v in weights.state.items()}
    aside = output.with_name(f".{output.name}.{os.getpid()}.tmp")
    try:
        save_file(tensors, aside, metadata)
        os.replace(aside, output)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise FrfwError(f"cannot write {output}: {error.strerror or error}") from error
    return output


def _files(path: Path) -> list[Path]:
    folder = path / "checkpoints" if (path / "checkpoints").is_dir() else path
    if folder.is_dir():
        return sorted((p for p in folder.glob("step_*.pt")), key=checkpoint.step_of)
    return [path]


def _refuse_existing(output: Path, overwrite: bool) -> None:
    if output.exists() and not overwrite:
        raise FrfwError(f"{output} exists already; choose another --output, or add --overwrite")


def _same_network(one: dict[str, Any], other: dict[str, Any], file: Path) -> None:
    differing = [
        k
        for k in {**one, **other}
        if k not in one or k not in other or one[k].shape != other[k].shape
    ]
    if differing:
        raise FrfwError(
            f"{file} is of another network than the newest checkpoint (first difference: "
            f"{differing[0]}); only checkpoints of one network can be averaged"
        )
