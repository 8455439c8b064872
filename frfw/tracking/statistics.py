"""What the head did in a step, as scalars that stay on the device."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

_PERCENTILES = (10, 50, 90)


@torch.no_grad()
def head_statistics(
    output: Any, embeddings: Tensor, formula: nn.Module | None = None
) -> dict[str, Tensor]:
    """Sum up a `HeadOutput` as named 0-d tensors.

    Args:
        output: what the classifier returned with `statistics` switched on; what it has not
            measured (None) is left out.
        embeddings: (B, dim), before normalisation.
        formula: its one-element floating buffers (CurricularFace's `t`, AdaFace's batch mean and
            deviation of the norm) are reported under their own names.

    Returns:
        `head/cos_target_mean`, `head/cos_target_p10|p50|p90`, `head/max_negative_cos`,
        `head/accuracy_no_margin`, `head/accuracy_margin`, `head/hard_share`, `head/feature_norm`,
        `head/M_mean|M_min|M_max` (M = dN/dcos over the hard negatives) and the formula's state.
        Every value is on the embeddings' device. Nothing here waits for the device: no tensor is
        read, printed, indexed by a mask or copied to the host.
    """
    values: dict[str, Tensor] = {}
    cos = output.cos_target.detach().float()
    values["head/cos_target_mean"] = cos.mean()
    for percent, value in zip(_PERCENTILES, percentiles(cos, _PERCENTILES)):
        values[f"head/cos_target_p{percent}"] = value
    means = {
        "head/max_negative_cos": "max_negative_cos",
        "head/accuracy_no_margin": "correct",
        "head/accuracy_margin": "correct_margin",
        "head/hard_share": "hard_share",
    }
    for name, attribute in means.items():
        value = getattr(output, attribute, None)
        if value is not None:
            values[name] = value.detach().float().mean()
    values["head/feature_norm"] = embeddings.detach().float().norm(dim=1).mean()
    for name, value in (getattr(output, "modulation", None) or {}).items():
        values[f"head/M_{name}"] = torch.as_tensor(value).detach()
    for name, buffer in formula.named_buffers() if formula is not None else ():
        if buffer.numel() == 1 and buffer.is_floating_point():
            # A copy: the formula moves its state in place, and the value is read later.
            values[f"head/{name}"] = buffer.detach().clone().reshape(())
    return values


def percentiles(values: Tensor, percents: tuple[int, ...]) -> list[Tensor]:
    """Return percentiles of (B,) values with linear interpolation, as `torch.quantile` does.

    Sorting and indexing with Python integers: `torch.quantile` takes its quantiles as a tensor,
    which would have to be copied to the device first.
    """
    ordered = values.sort().values
    last = ordered.numel() - 1
    found = []
    for percent in percents:
        low, rest = divmod(percent * last, 100)
        high = min(low + 1, last)
        found.append(ordered[low] + (ordered[high] - ordered[low]) * (rest / 100))
    return found
