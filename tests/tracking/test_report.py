"""Reports say what the run folders hold, in one file, whatever is missing."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from frfw.errors import FrfwError
from frfw.tracking import load_run, write_comparison, write_report
from frfw.tracking.headline import headline, in_words
from frfw.tracking.report import charts
from frfw.tracking.report.compare import paired_test, result_table
from frfw.tracking.report.compare_charts import accuracy_by_key, overlaid
from frfw.tracking.report.settings import Setting, differing, find_runs, label, settings
from frfw.tracking.report.verification import SetScores, roc_points, thresholds
from frfw.tracking.runs import Curve, Run
from frfw.tracking.worst import load_worst, worst_positions


@pytest.fixture(scope="module")
def run(make_run, tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("report") / "demo & <friends>", steps=160)


@pytest.fixture(scope="module")
def sweep(make_run, tmp_path_factory):
    root = tmp_path_factory.mktemp("sweep") / "margins"
    for loss, m, seed, quality in [
        ("arcface", 0.3, 1, 0.1), ("arcface", 0.3, 2, 0.12), ("arcface", 0.5, 1, 0.5),
        ("arcface", 0.5, 2, 0.5), ("curricular", 0.3, 1, 0.7), ("curricular", 0.3, 2, 0.7),
    ]:  # fmt: skip
        make_run(root / f"{loss}-{m}-{seed}", loss, m, seed, quality, steps=160, full=False,
                 diverges=(loss, m, seed) == ("arcface", 0.5, 2))  # fmt: skip
    return root


def test_one_file_with_everything_and_no_network(run):
    page = write_report(run).read_text()
    for told in ("Verification accuracy", "Loss", "Accuracy in training", "Cosines", "ROC",
                 "Modulation M and t", "Learning rate", "Throughput", "Waiting for data",
                 "The worst mistakes", "Robustness", "Environment", "curricular, m 0.5, s 64",
                 "NVIDIA H200", "3665d9d2a136", "impostors are too few"):  # fmt: skip
        assert told in page, told
    assert "demo &amp; &lt;friends&gt;" in page
    assert "<friends>" not in page
    outside = re.sub(r'xmlns(:\w+)?="[^"]*"', "", page)
    assert not re.search(r"https?://|src=\"(?!data:)|href=\"(?!#|data:)|@import", outside)
    accuracy = json.loads((run / "result.json").read_text())["metrics"]["lfw"]["accuracy"]
    assert f"{100 * accuracy:.2f}" in page


def test_every_id_that_is_used_is_there(run):
    page = write_report(run).read_text()
    ids = set(re.findall(r'\bid="([^"]+)"', page))
    used = re.findall(r'(?:href="#|url\(#)([^")]+)', page)
    assert used
    assert set(used) <= ids
    assert "#0102" not in page  # no made-up colour is left


@pytest.mark.parametrize("kept", ["metrics.jsonl", "config.yaml", "result.json"])
def test_parts_that_are_missing_are_left_out(run, tmp_path, kept):
    folder = tmp_path / "bare"
    folder.mkdir()
    (folder / kept).write_bytes((run / kept).read_bytes())
    page = write_report(folder, tmp_path / "elsewhere.html").read_text()
    assert "bare" in page
    assert ("Learning rate" in page) == (kept == "metrics.jsonl")
    assert not (folder / "report.html").exists()


def test_damaged_files_cost_their_part_alone(run, tmp_path, caplog):
    copy = shutil.copytree(run, tmp_path / "run")
    folder = copy / "evaluation"
    (folder / "lfw.npz").write_bytes((folder / "lfw.npz").read_bytes()[:200])
    (folder / "cfp_fp_worst.npz").write_bytes(b"")
    (folder / "robustness.json").write_text("[1, 2]")
    (copy / "environment.json").write_text("{")
    (copy / "result.json").write_text("[]")
    page = write_report(copy).read_text()
    for name in ("lfw.npz", "cfp_fp_worst.npz", "robustness.json", "environment.json",
                 "result.json"):  # fmt: skip
        assert any(name in record.message for record in caplog.records), name
        assert name in page
    for told in ("Verification accuracy", "Loss", "ROC", "Scores: cfp_fp"):
        assert told in page, told
    assert "Scores: lfw" not in page


def test_results_of_another_shape_are_left_out(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "run")
    (copy / "evaluation" / "lfw.json").write_text('{"accuracy": "high", "operating_points": [3]}')
    page = write_report(copy).read_text()
    assert "a file holds no such result" in page
    assert "Learning rate" in page


def test_groups_have_their_intervals_and_notes(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "run")
    path = copy / "evaluation" / "lfw.json"
    content = json.loads(path.read_text())
    content["groups"] = {
        "African": {"pair_count": 1234, "accuracy": 0.9, "auc": 0.95, "eer": 0.1,
                    "standard_error": 0.01, "intervals": {"accuracy": [0.871, 0.923]}},
        "Asian": {"pair_count": 600, "accuracy": 0.8, "auc": 0.9, "eer": 0.2,
                  "standard_error": 0.0123, "intervals": {}},
        "Indian": {"pair_count": 7, "note": "all pairs are of the same kind"},
    }  # fmt: skip
    path.write_text(json.dumps(content))
    page = write_report(copy).read_text()
    for told in ("lfw by group", "1,234", "87.1 – 92.3", "± 1.23",
                 "Indian: all pairs are of the same kind"):  # fmt: skip
        assert told in page, told


def test_what_a_reader_must_know_stands_under_the_table(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "run")
    path = copy / "evaluation" / "lfw.json"
    content = json.loads(path.read_text())
    content["details"] = {"repeated_pairs": 130, "chosen_on_this_set": True}
    path.write_text(json.dumps(content))
    page = write_report(copy).read_text()
    assert "lfw: 130 pairs are there more than once." in page
    assert "lfw: best.pt was chosen by its score on this very set" in page
    assert "cfp_fp: best.pt" not in page


def test_diverged_run_is_said_to_be(make_run, tmp_path):
    page = write_report(make_run(tmp_path / "run", steps=80, diverges=True)).read_text()
    assert "diverged" in page
    assert "20 steps in a row" in page


def test_folders_that_are_no_runs(tmp_path):
    with pytest.raises(FrfwError, match="no such folder"):
        load_run(tmp_path / "nothing")
    with pytest.raises(FrfwError, match="no run folder"):
        load_run(tmp_path)
    with pytest.raises(FrfwError, match="neither a run folder nor a folder of runs"):
        find_runs([tmp_path])
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "a": [1]}\n')
    with pytest.raises(FrfwError, match=r"metrics.jsonl, line 1: 'a' is no number"):
        load_run(tmp_path)


@pytest.mark.slow
def test_command(run, sweep, tmp_path):
    def call(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "frfw.report", *map(str, arguments)],
            capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip

    done = call(sweep)
    assert done.stdout.strip() == str(sweep / "report.html")
    assert (sweep / "report.html").is_file()
    failed = call(tmp_path)
    assert failed.returncode == 1
    assert failed.stderr.startswith("error: ")
    assert len(failed.stderr.splitlines()) == 1


def test_runs_that_differ_by_seed_are_one_setting(sweep):
    found = settings(find_runs([sweep]))
    assert [s.label for s in found] == ["arcface, m 0.3", "arcface, m 0.5", "curricular, m 0.3"]
    assert [len(s.runs) for s in found] == [2, 2, 2]
    assert [len(s.good) for s in found] == [2, 1, 2]
    assert label({"backbone.name": "iresnet18", "loss.s": 64.0}) == "iresnet18, s 64"


def test_result_table_marks_best_spread_and_diverged(sweep):
    found = settings(find_runs([sweep]))
    table = result_table(found, ["lfw"])
    assert table["columns"] == ["runs", "lfw"]
    rows = dict(table["rows"])
    assert rows["arcface, m 0.5"][0] == ("1 of 2", "1 diverged", "bad")
    assert rows["curricular, m 0.3"][1][2] == "best"
    values = found[0].accuracies("lfw")
    figure, small, _ = rows["arcface, m 0.3"][1]
    assert figure == f"{100 * values.mean():.2f}"
    assert small.startswith(f"± {100 * values.std(ddof=1):.2f} · p ")
    assert paired_test(found[0], found[2], "lfw") < 0.05
    assert paired_test(found[0], found[0], "lfw") == 1.0
    assert paired_test(found[0], found[2], "unknown") is None


def test_paired_test_takes_shared_seeds_and_all_where_there_are_none(tmp_path):
    def setting(**folds):
        runs = [
            Run(
                tmp_path,
                {"seed": seed},
                evaluation={"lfw": {"fold_accuracies": values}},
                result={"status": "finished"},
            )
            for seed, values in folds.items()
        ]
        return Setting({}, runs)

    high, low, other = [0.9] * 10, [0.8] * 10, [0.1] * 10
    first = setting(a=high, b=other)
    assert paired_test(first, setting(a=low, c=other), "lfw") == 2 / 1024
    assert paired_test(setting(a=high), setting(c=high), "lfw") == 1.0
    assert paired_test(first, setting(a=low[:9]), "lfw") is None


def test_keys_that_do_not_change_a_run_are_passed_over():
    flat = [{"trainer.log_every": n, "data.workers": n, "name": n, "loss.m": n} for n in (1, 2)]
    assert differing(flat) == ["loss.m"]
    many = {f"loss.k{i}": i for i in range(5)}
    assert Setting(many, [Run(Path("runs/mine"))]).label == "mine"


def test_comparison_page(sweep, run):
    page = write_comparison(sweep).read_text()
    for told in ("Accuracy on lfw by loss.m", "1 diverged", "curricular, m 0.3", "ROC on cfp_fp"):
        assert told in page, told
    beside = write_comparison([run, sweep / "arcface-0.3-1"])
    assert beside == run.parent / "comparison.html"


def test_losses_alone_are_compared_row_by_row(sweep):
    runs = [sweep / name for name in ("arcface-0.3-1", "arcface-0.3-2", "curricular-0.3-1")]
    page = write_comparison(runs, sweep.parent / "losses.html").read_text()
    assert "Accuracy on lfw by setting" in page
    assert "by loss.m" not in page


def test_a_search_is_drawn_as_dots_and_ranked(make_run, tmp_path):
    for trial in range(10):
        m, quality = 0.2 + 0.0371 * trial, 0.2 + 0.05 * trial
        folder = make_run(tmp_path / f"trial_{trial:03d}", ("arcface", "curricular")[trial % 2],
                          m, 1, quality, steps=80, full=False, diverges=trial == 3)  # fmt: skip
        config = yaml.safe_load((folder / "config.yaml").read_text())
        config["optimizer"]["base_lr"] = 10.0 ** (-trial / 3)
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
    result = tmp_path / "trial_009" / "result.json"
    result.write_text(json.dumps(json.loads(result.read_text()) | {"status": "pruned"}))
    (tmp_path / "study.db").touch()
    page = write_comparison(tmp_path).read_text()
    assert page.count("A dot a setting. ×: a run diverged or failed.") == 4  # two sets, two keys
    assert re.search(r"<span>pruned</span><b>1</b>", page)
    order = re.findall(r"<td>(?:arcface|curricular), m ([\d.]+)", page)[:10]
    assert order[0] == f"{0.2 + 0.0371 * 8:g}"  # the best that was not pruned
    assert set(order[-2:]) == {f"{0.2 + 0.0371 * 3:g}", f"{0.2 + 0.0371 * 9:g}"}


def test_only_finished_runs_count_and_lost_lines_are_marked(make_run, tmp_path):
    """A run that was stopped is no part of a mean; a loss that always diverged keeps its cross."""
    for m in (0.3, 0.5):
        for seed in (1, 2):
            make_run(tmp_path / f"a-{m}-{seed}", "curricular", m, seed, steps=80, full=False)
            make_run(tmp_path / f"b-{m}-{seed}", "arcface", m, seed, steps=80, full=False,
                     diverges=True)  # fmt: skip
    result = tmp_path / "a-0.3-2" / "result.json"
    result.write_text(json.dumps(json.loads(result.read_text()) | {"status": "stopped"}))
    compared = settings(find_runs([tmp_path]))
    counts = {s.label: (len(s.good), len(s.lost)) for s in compared}
    assert counts["curricular, m 0.3"] == (1, 0)
    assert counts["arcface, m 0.3"] == (0, 2)
    chart = next(c for c in accuracy_by_key(compared, ["lfw"]) if c.title.endswith("loss.m"))
    assert sorted(told for told, _, _ in chart.legend) == ["arcface", "curricular"]
    assert "a run diverged or failed" in chart.note


def test_a_swept_word_stands_beside_the_numbers(make_run, tmp_path):
    """t = adaptive has no place on the axis: it is drawn as a level. One point is no curve."""
    for t in (0, 0.5, "adaptive"):
        folder = make_run(tmp_path / "sweep" / f"t-{t}", steps=80, full=False)
        config = yaml.safe_load((folder / "config.yaml").read_text())
        config["loss"]["t"] = t
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        with open(folder / "metrics.jsonl") as file:
            lines = [json.loads(line) for line in file]
        lines = [x for x in lines if "val/lfw/accuracy" not in x]
        lines.append({"step": 80, "time": lines[-1].get("time", 0), "val/lfw/accuracy": 0.8})
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (folder / "metrics.jsonl").write_text(text)
    compared = settings(find_runs([tmp_path / "sweep"]))
    chart = next(c for c in accuracy_by_key(compared, ["lfw"]) if c.title.endswith("loss.t"))
    assert [told for told, _, _ in chart.legend] == ["accuracy", "t adaptive"]
    titles = [chart.title for chart in overlaid(compared)]
    assert "Loss" in titles
    assert "Accuracy on lfw" not in titles


def test_headline_figures():
    assert headline({"auc": 1, "accuracy": 1}) == "accuracy"
    assert headline({"rank_1": 1, "rank_5": 1, "tpir_at_fpir_0.1": 1}) == "rank_1"
    assert headline({"auc": 1, "tar_at_far_0.1": 1, "tar_at_far_0.0001": 1}) == "tar_at_far_0.0001"
    assert headline({"G1_rank_1": 1, "G2_rank_1": 1}) == "G1_rank_1"
    assert headline({"auc": 1}) is None
    assert [in_words(n) for n in ("rank_1", "G1_rank_1", "tar_at_far_0.01")] == [
        "rank 1", "G1, rank 1", "TAR at FAR 0.01",
    ]  # fmt: skip


@pytest.mark.parametrize("count", range(8))
def test_wide_charts_fill_the_rows(count):
    drawn = [charts.draw(f"c{i}", lambda axes: None) for i in range(count)]
    wide = sum(bool(c.wide) for c in charts.spread(drawn))
    if count in (2, 4):
        assert wide == count
    elif count > 1:
        assert (count + wide) % 3 == 0


def test_roc_points_equal_counting():
    rng = np.random.default_rng(0)
    scores = SetScores("s", np.sort(rng.normal(1, 1, 50)), np.sort(rng.normal(0, 1, 40).round(1)))
    far, tar = roc_points(scores, points=1000)
    for threshold in scores.impostor:
        at = np.flatnonzero(np.isclose(far, np.mean(scores.impostor >= threshold)))
        assert len(at)
        assert tar[at] == pytest.approx(np.mean(scores.genuine >= threshold))


def test_thresholds_are_cosines():
    points = [{"target": 0.1, "threshold": 0.3, "tar": 1, "note": ""},
              {"target": 0.01, "threshold": 0.4, "tar": 1, "note": ""},
              {"target": 1e-3, "threshold": 0.5, "tar": 1, "note": "too few"}]  # fmt: skip
    marks = thresholds({"fold_thresholds": [1.0, 1.2], "operating_points": points})
    assert marks == [
        ("best accuracy", pytest.approx(0.45), charts.SOLID),
        ("FAR 0.01", 0.4, charts.DASHED),
    ]


def test_worst_pairs(run):
    pairs = load_worst(run / "evaluation" / "lfw_worst.npz")
    assert pairs.left.shape == pairs.right.shape == (len(pairs.scores), 112, 112, 3)
    same = np.array([True, True, False, False, True, False])
    scores = np.array([0.9, 0.1, 0.8, 0.2, 0.3, 0.6])
    assert worst_positions(scores, same, 0.5, 6).tolist() == [2, 5, 1, 4]
    assert worst_positions(scores, same, 0.5, 1).tolist() == [2, 1]
    assert load_worst(run / "nothing.npz") is None


@given(st.integers(1, 2000), st.integers(1, 50))
def test_thinning_keeps_the_mean(points, wanted):
    values = np.random.default_rng(points).normal(size=points)
    curve = Curve(np.arange(points), values, np.zeros(points))
    thinned = charts.thin(curve, wanted)
    assert len(thinned.steps) <= wanted
    if points % len(thinned.steps) == 0:
        assert thinned.values.mean() == pytest.approx(values.mean())


def test_marks_on_axes():
    assert [charts.power(x) for x in (1, 0.01, 1e-3, 1e-6)] == ["1", "0.01", "10⁻³", "10⁻⁶"]
    assert [charts.short(x) for x in (0, 950, 1500, 2e4, 3e6)] == ["0", "950", "1.5k", "20k", "3M"]
    assert charts.smooth(np.arange(9.0), 3)[1:-1] == pytest.approx(np.arange(1.0, 8))
