"""`verify` equals insightface's protocol fold by fold, and the plain loop on anything."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score, roc_curve
from sklearn.model_selection import KFold

from frfw.errors import FrfwError
from frfw.evaluation import VerificationResult, verify
from frfw.evaluation.folds import grid_rates
from frfw.evaluation.verification import verify_distances

REFERENCE = Path(__file__).parents[1] / "reference" / "evaluation"


def plain_loop(a, b, same, folds=10):
    """The protocol as one would write it down: every threshold, every fold, one after another."""
    a = a.astype(np.float64) / np.linalg.norm(a.astype(np.float64), axis=1, keepdims=True)
    b = b.astype(np.float64) / np.linalg.norm(b.astype(np.float64), axis=1, keepdims=True)
    distance = np.sum(np.square(a - b), axis=1)
    thresholds = np.arange(0, 4, 0.01)
    accuracies, tpr, fpr = [], np.zeros((folds, 400)), np.zeros((folds, 400))
    for fold, (train, test) in enumerate(KFold(folds, shuffle=False).split(distance)):
        on_train = [rates(t, distance[train], same[train])[2] for t in thresholds]
        for k, threshold in enumerate(thresholds):
            tpr[fold, k], fpr[fold, k], _ = rates(threshold, distance[test], same[test])
        best = thresholds[int(np.argmax(on_train))]
        accuracies.append(rates(best, distance[test], same[test])[2])
    return np.array(accuracies), tpr.mean(axis=0), fpr.mean(axis=0)


def rates(threshold, distance, same):
    """TPR, FPR and accuracy at one threshold."""
    accept = distance < threshold
    right, wrong = np.sum(accept & same), np.sum(accept & ~same)
    genuine, impostor = np.sum(same), np.sum(~same)
    tpr = right / genuine if genuine else 0.0
    fpr = wrong / impostor if impostor else 0.0
    return tpr, fpr, (right + impostor - wrong) / distance.size


@pytest.fixture(scope="module")
def reference():
    arrays = np.load(REFERENCE / "verification_dev.npz")
    figures = json.loads((REFERENCE / "verification_dev.json").read_text())
    return arrays, figures


def some_pairs(seed, count=300, dim=16, spread=1.2):
    rng = np.random.default_rng(seed)
    same = rng.random(count) < 0.5
    a = rng.standard_normal((count, dim))
    b = np.where(same[:, None], a + spread * rng.standard_normal((count, dim)), a[::-1])
    return a.astype(np.float32), b.astype(np.float32), same


def test_equals_the_reference_fold_by_fold(reference):
    arrays, figures = reference
    embeddings, same = arrays["embeddings"], arrays["issame"]
    result = verify(embeddings[0::2], embeddings[1::2], same)
    assert np.array_equal(result.fold_accuracies, arrays["accuracy_per_fold"])
    assert result.accuracy == figures["accuracy_mean"]
    assert result.std == pytest.approx(figures["accuracy_std"], abs=1e-15)
    assert result.auc == pytest.approx(figures["auc"], abs=1e-12)
    for far, tar in figures["tar_at_far"].items():
        assert result.tar_at_far[float(far)] == pytest.approx(tar, abs=1e-12)


def test_too_few_impostors_are_said(reference):
    arrays, _ = reference
    result = verify(arrays["embeddings"][0::2], arrays["embeddings"][1::2], arrays["issame"])
    assert result.tar_at_far[1e-4] is None
    assert any("too few for FAR 0.0001" in note for note in result.notes)
    assert any("FAR 0.001 here means no false accept" in note for note in result.notes)


def test_plain_loop_and_grid_rates_equal_the_reference(reference):
    arrays, _ = reference
    a, b = arrays["embeddings"][0::2], arrays["embeddings"][1::2]
    accuracies, tpr, fpr = plain_loop(a, b, arrays["issame"])
    assert np.array_equal(accuracies, arrays["accuracy_per_fold"])
    assert np.allclose(tpr, arrays["tpr"], atol=1e-12)
    assert np.allclose(fpr, arrays["fpr"], atol=1e-12)
    result = verify(a, b, arrays["issame"])
    fast_tpr, fast_fpr = grid_rates(2 - 2 * result.scores, result.same, result.folds)
    assert np.allclose(fast_tpr, arrays["tpr"], atol=1e-12)
    assert np.allclose(fast_fpr, arrays["fpr"], atol=1e-12)


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), folds=st.integers(2, 12), count=st.integers(20, 90))
def test_equals_the_plain_loop(seed, folds, count):
    a, b, same = some_pairs(seed, count)
    same[:2] = True, False
    result = verify(a, b, same, folds)
    assert np.array_equal(result.fold_accuracies, plain_loop(a, b, same, folds)[0])


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), decimals=st.integers(1, 6))
def test_auc_and_tar_equal_scikit_learn_with_ties(seed, decimals):
    rng = np.random.default_rng(seed)
    from frfw.evaluation import metrics

    same = rng.random(200) < 0.4
    same[:2] = True, False
    scores = np.round(rng.standard_normal(200) + same, decimals)
    genuine, impostor = metrics.split_scores(scores, same)
    assert abs(metrics.auc(genuine, impostor) - roc_auc_score(same, scores)) < 1e-12
    fpr, tpr, _ = roc_curve(same, scores, drop_intermediate=False)
    curve = metrics.roc(genuine, impostor)
    assert np.allclose(curve.far, fpr, atol=1e-12)
    assert np.allclose(curve.tar, tpr, atol=1e-12)
    for target in (0.3, 0.1, 0.02):
        point = metrics.tar_at_far(genuine, impostor, target)
        assert point.tar == pytest.approx(tpr[fpr <= target].max(), abs=1e-12)
        assert np.mean(impostor >= point.threshold) == point.far <= target
        assert np.mean(genuine >= point.threshold) == point.tar


def test_equal_error_rate_by_hand():
    from frfw.evaluation import metrics

    genuine, impostor = np.array([0.3, 0.7, 0.8, 0.9]), np.array([0.1, 0.2, 0.4, 0.75])
    assert metrics.equal_error_rate(metrics.roc(genuine, impostor)) == pytest.approx(0.25)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), decimals=st.sampled_from([1, 2, 12]))
def test_exact_thresholds_by_exhaustion(seed, decimals):
    a, b, same = some_pairs(seed, 60)
    same[:2] = True, False
    distance = np.round(2 - 2 * verify(a, b, same, 5).scores, decimals)  # few decimals: ties
    result = verify_distances(distance, same, 5)
    for fold in range(5):
        train, test = result.folds != fold, result.folds == fold
        candidates = np.concatenate([distance, distance + 1e-9, [-1.0]])
        best = max(np.mean((distance[train] < c) == same[train]) for c in candidates)
        threshold = result.exact_fold_thresholds[fold]
        assert np.mean((distance[train] < threshold) == same[train]) == best
        accuracy = np.mean((distance[test] < threshold) == same[test])
        assert accuracy == result.exact_fold_accuracies[fold]


def test_identical_and_orthogonal_pairs_lie_exactly_on_the_grid():
    a = np.eye(8, dtype=np.float32)
    result = verify(a, np.concatenate([a[:4], a[:4]]), [True] * 4 + [False] * 4, 2)
    assert np.array_equal(result.scores, [1, 1, 1, 1, 0, 0, 0, 0])


@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), dtype=st.sampled_from(["float16", "float32", "float64"]))
def test_figures_are_those_of_float64(seed, dtype):
    a, b, same = some_pairs(seed, 800, spread=1.5)
    a, b = a.astype(dtype), b.astype(dtype)
    x, y = (rows.astype(np.float64) for rows in (a, b))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    y /= np.linalg.norm(y, axis=1, keepdims=True)
    distance = np.sum(np.square(x - y), axis=1)
    result = verify(a, b, same)
    assert np.allclose(2 - 2 * result.scores, distance, atol=2e-6)
    assert np.array_equal(np.argsort(result.scores), np.argsort(1 - distance / 2))
    assert result.auc == pytest.approx(roc_auc_score(same, -distance), abs=1e-12)
    assert np.array_equal(result.fold_accuracies, plain_loop(a, b, same)[0])


def test_values_beyond_float32_squares():
    a, b, same = some_pairs(4)
    ordinary = verify(a, b, same)
    for factor in (1e25, 1e-25):
        far = verify(a * np.float32(factor), b * np.float32(factor), same)
        assert np.array_equal(far.fold_accuracies, ordinary.fold_accuracies)


def test_given_folds_are_used():
    a, b, same = some_pairs(5, 100)
    shuffled = np.random.default_rng(0).permutation(np.repeat(np.arange(10), 10))
    order = np.argsort(shuffled, kind="stable")
    blocks = verify(a[order], b[order], same[order], 10)
    assert np.array_equal(verify(a, b, same, shuffled).fold_accuracies, blocks.fold_accuracies)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a, b, s: (a * np.where(np.arange(300) == 7, np.nan, 1)[:, None], b, s), "pair 7"),
        (lambda a, b, s: (a, b * 0, s), "second embedding of pair 0 is all zeros"),
        (lambda a, b, s: (a, b, s | True), "all 300 pairs are 'same'"),
        (lambda a, b, s: (a, b, s & False), "all 300 pairs are 'different'"),
        (lambda a, b, s: (a, b[:-1], s), "need (P, D)"),
    ],
)
def test_bad_pairs_are_named(change, message):
    with pytest.raises(FrfwError, match=message.replace("(", r"\(").replace(")", r"\)")):
        verify(*change(*some_pairs(1)))


@pytest.mark.parametrize("folds", [1, 0, 301])
def test_folds_that_cannot_be(folds):
    with pytest.raises(FrfwError, match="at least two folds"):
        verify(*some_pairs(1), folds)


def test_result_survives_files_and_dicts(tmp_path):
    result = verify(*some_pairs(2), name="some")
    for again in (
        VerificationResult.load(result.save(tmp_path)),
        VerificationResult.from_dict(json.loads(json.dumps(result.to_dict()))),
    ):
        assert again.tar_at_far == result.tar_at_far
        assert np.allclose(again.scores, result.scores, atol=1e-8)
        assert again.to_dict(scores=False) == result.to_dict(scores=False)
    with pytest.raises(FrfwError, match="not a saved verification result"):
        VerificationResult.load(tmp_path / "none.json")


def test_damaged_results_are_named(tmp_path):
    path = verify(*some_pairs(2), name="some").save(tmp_path)
    scores = path.with_suffix(".npz")
    whole = scores.read_bytes()
    inside = bytearray(whole)
    inside[200:260] = bytes(60)  # the archive is whole, what is compressed in it is not
    for damaged in (whole[:100], b"", whole[: len(whole) // 2], bytes(inside)):
        scores.write_bytes(damaged)
        with pytest.raises(
            FrfwError, match=r"some\.json: not a saved verification.*evaluate again"
        ):
            VerificationResult.load(path)
    scores.write_bytes(whole)
    for text in ("", '{"name": "some"', "[]", "{}"):
        path.write_text(text)
        with pytest.raises(FrfwError, match=r"some\.json: not a saved verification result"):
            VerificationResult.load(path)


@pytest.mark.parametrize("target", [0, -0.1, 2, float("nan")])
def test_far_targets_that_cannot_be(target):
    with pytest.raises(FrfwError, match="FAR target"):
        verify(*some_pairs(1), far_targets=(target,))
