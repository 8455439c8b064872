"""Evaluation: pair verification, identification, templates, calibration, robustness."""

from frfw.evaluation.result import VerificationResult
from frfw.evaluation.verification import verify

__all__ = ["VerificationResult", "verify"]
