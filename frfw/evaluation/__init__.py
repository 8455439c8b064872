"""Evaluation: pair verification, identification, templates, calibration, robustness."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from frfw.evaluation.cache import EmbeddingCache
    from frfw.evaluation.extraction import Extraction, extract
    from frfw.evaluation.pairs import PairSet, load_pairs
    from frfw.evaluation.result import VerificationResult
    from frfw.evaluation.sets import embed_pairs, evaluate_sets, open_sets, score_pairs
    from frfw.evaluation.verification import verify

_HOMES = {
    "EmbeddingCache": "cache",
    "Extraction": "extraction",
    "PairSet": "pairs",
    "VerificationResult": "result",
    "embed_pairs": "sets",
    "evaluate_sets": "sets",
    "extract": "extraction",
    "load_pairs": "pairs",
    "open_sets": "sets",
    "score_pairs": "sets",
    "verify": "verification",
}
__all__ = [
    "EmbeddingCache",
    "Extraction",
    "PairSet",
    "VerificationResult",
    "embed_pairs",
    "evaluate_sets",
    "extract",
    "load_pairs",
    "open_sets",
    "score_pairs",
    "verify",
]


def __getattr__(name: str) -> Any:
    # Imported on first use: `verify` needs NumPy alone, images need PyTorch and OpenCV.
    if name in _HOMES:
        return getattr(importlib.import_module(f"frfw.evaluation.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'frfw.evaluation' has no attribute '{name}'")
