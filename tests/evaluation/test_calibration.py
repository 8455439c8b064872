"""Threshold, likelihood ratios and their cost, against distributions that are known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from frfw.errors import FrfwError
from frfw.evaluation.bootstrap import bootstrap_intervals
from frfw.evaluation.calibration import Calibration, calibrate, cllr, fit_ratios
from frfw.evaluation.verification import verify_distances


def known(count=6000, seed=0):
    """Genuine cosines N(0.5, 0.1), impostors N(0.1, 0.1): the true log ratio is 40 s - 12."""
    rng = np.random.default_rng(seed)
    same = np.arange(count) % 2 == 0
    return rng.normal(np.where(same, 0.5, 0.1), 0.1), same


def found(far=0.01, **changes):
    scores, same = known()
    options = {
        "folds": np.arange(scores.size) * 10 // scores.size,
        "identities": np.arange(2 * scores.size).reshape(-1, 2),
        "samples": 100,
    }
    return calibrate(scores, same, far, **(options | changes))


def test_threshold_and_interval_of_a_known_distribution():
    result = found()
    true = norm.isf(0.01, 0.1, 0.1)
    assert result.threshold == pytest.approx(true, abs=0.02)
    low, high = result.threshold_interval
    assert low < result.threshold < high
    assert low < true < high
    assert high - low < 0.05
    assert result.far_measured <= 0.01
    assert result.tar == pytest.approx(norm.sf(result.threshold, 0.5, 0.1), abs=0.02)


def test_ratios_of_a_known_distribution():
    result = found()
    between = np.array([0.25, 0.3, 0.35])
    assert result.log_likelihood_ratio(between) == pytest.approx(40 * between - 12, abs=0.7)
    ratios = result.log_likelihood_ratio(np.linspace(-1, 1, 500))
    assert np.isfinite(ratios).all()
    assert (np.diff(ratios) >= 0).all()
    scores, same = known(seed=1)
    truth = cllr(40 * scores - 12, same)
    assert result.cllr_min <= result.cllr
    assert result.cllr == pytest.approx(truth, abs=0.02)


def test_cost_by_hand():
    assert cllr(np.zeros(4), np.array([True, False, True, False])) == pytest.approx(1)
    ratios = np.log(np.array([3.0, 1 / 3]))
    assert cllr(ratios, np.array([True, False])) == pytest.approx(np.log2(4 / 3))


def test_few_impostors_are_refused_or_said():
    with pytest.raises(FrfwError, match=r"3000 impostor pairs are too few for FAR 0.0001"):
        found(far=1e-4)
    assert "uncertain" in found(far=1e-3).notes[0]
    assert not found(far=0.02).notes
    with pytest.raises(FrfwError, match="between 0 and 1"):
        found(far=1.5)


def test_survives_its_file(tmp_path):
    result = found()
    assert Calibration.load(result.save(tmp_path / "calibration.json")) == result
    with pytest.raises(FrfwError, match="no calibration"):
        Calibration.load(tmp_path / "none.json")


def test_without_resamples_there_is_no_interval(tmp_path):
    from frfw.evaluation.plots import calibration_figure

    result = found(samples=0)
    assert result.threshold_interval is None
    assert Calibration.load(result.save(tmp_path / "calibration.json")) == result
    assert calibration_figure(result)
    with pytest.raises(FrfwError, match="bootstrap=-1"):
        found(samples=-1)
    (tmp_path / "calibration.json").write_text("[]")
    with pytest.raises(FrfwError, match="no calibration"):
        Calibration.load(tmp_path / "calibration.json")


def test_folds_of_one_kind_are_named():
    _, same = known()
    with pytest.raises(
        FrfwError, match=r"without fold 0, all 3000 pairs are 'same'.*mix the folds"
    ):
        found(folds=same.astype(np.int64))


def test_separated_scores_give_finite_ratios():
    knots, ratios = fit_ratios(np.array([0.1, 0.2, 0.8, 0.9]), np.array([0, 0, 1, 1]).astype(bool))
    assert np.isfinite(ratios).all()
    assert ratios[0] < 0 < ratios[-1]
    assert (np.diff(knots) > 0).all()


def test_bootstrap_intervals():
    scores, same = known(2000)
    result = verify_distances(2 - 2 * scores, same)
    alone = np.arange(4000).reshape(-1, 2)
    alone[same, 1] = alone[same, 0]  # each same pair one person, each different pair two
    low, high = bootstrap_intervals(result, alone, 400)["tar@0.1"]
    assert low <= result.tar_at_far[0.1] <= high
    assert bootstrap_intervals(result, alone, 50) == bootstrap_intervals(result, alone, 50)
    low, high = bootstrap_intervals(result, alone, 200)["auc"]
    assert low < result.auc < high


def test_bootstrap_with_equal_weights_is_the_figure_itself():
    from frfw.evaluation.bootstrap import _Weighted

    scores, same = known(500)
    result = verify_distances(2 - 2 * np.round(scores, 2), same)
    figures = _Weighted(result)(np.ones(500, np.int64))
    assert figures["accuracy"] == pytest.approx(result.accuracy, abs=1e-12)
    assert figures["auc"] == pytest.approx(result.auc, abs=1e-12)
    assert figures["eer"] == pytest.approx(result.eer, abs=1e-12)
    assert figures["tar@0.01"] == pytest.approx(result.tar_at_far[0.01], abs=1e-12)
