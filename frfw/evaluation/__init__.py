"""Evaluation: pair verification, identification, templates, calibration, robustness."""

from frfw.evaluation.cache import EmbeddingCache
from frfw.evaluation.extract import Extraction, extract
from frfw.evaluation.pairs import PairSet, load_pairs
from frfw.evaluation.result import VerificationResult
from frfw.evaluation.sets import embed_pairs, evaluate_sets, open_sets, score_pairs
from frfw.evaluation.verification import verify

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
