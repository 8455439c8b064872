"""Losses: softmax-family formulas, sample weighting, and losses on embeddings."""

from frfw.losses import adaptive, center, curricular, elastic, margin, mining, sphere  # noqa: F401
from frfw.losses.embedding import create_embedding_loss, embedding_loss_names
from frfw.losses.formula import Formula, Samples, create_formula, formula_names
from frfw.losses.subcenters import SubcenterReport, subcenter_report
from frfw.losses.triplets import in_threes, mine, mine_offline, read_triplets, write_triplets
from frfw.losses.weighting import create_weighting, weighting_names
from frfw.losses.widen import widen

__all__ = [
    "Formula",
    "Samples",
    "SubcenterReport",
    "create_embedding_loss",
    "create_formula",
    "create_weighting",
    "embedding_loss_names",
    "formula_names",
    "in_threes",
    "mine",
    "mine_offline",
    "read_triplets",
    "subcenter_report",
    "weighting_names",
    "widen",
    "write_triplets",
]
