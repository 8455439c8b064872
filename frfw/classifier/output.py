"""What the classifier returns for a batch."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass
class HeadOutput:
    """The loss of a batch and what the head saw. B is this process's batch.

    Attributes:
        loss: scalar, differentiable. Its mean over processes is the loss of the global batch.
        per_sample: (B,) loss of each sample before weighting, differentiable.
        cos_target: (B,) cosine to the own centre (own logit for a linear head), detached.
        p_target: (B,) softmax probability of the own class with the margin, detached.
        max_negative_cos: (B,) largest cosine to another class.
        hard_share: (B,) share of the negatives whose cosine is above the formula's threshold.
        correct: (B,) bool, cos_target > max_negative_cos: right without the margin.
        correct_margin: (B,) bool, T > max N: right with the margin.
        modulation: `mean`, `min` and `max` (scalars) of dN/dcos over the hard negatives; 1 where
            no negative is hard. Of the samples computed here: of a sharded head, the global batch.

    The last five are None unless `classifier.statistics` is set; they are detached tensors on the
    embeddings' device, and computing them waits for nothing. With sampled negatives they speak of
    the sampled classes.
    """

    loss: Tensor
    per_sample: Tensor
    cos_target: Tensor
    p_target: Tensor
    max_negative_cos: Tensor | None = None
    hard_share: Tensor | None = None
    correct: Tensor | None = None
    correct_margin: Tensor | None = None
    modulation: dict[str, Tensor] | None = None
