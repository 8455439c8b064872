"""Bad input to `frfw.evaluate` and `frfw.calibrate`: a clear line and exit 1, both alike."""

from __future__ import annotations

import json
import shutil
import sys

import numpy as np
import pytest

from frfw import calibrate, evaluate
from frfw.command import run
from frfw.errors import FrfwError
from frfw.evaluation import load_pairs
from frfw.evaluation.calibration import Calibration

SAME, OTHER = "p00/p00_0001.png,p00/p00_0002.png", "p00/p00_0001.png,p01/p01_0002.png"
THIRD = "p02/p02_0001.png,p03/p03_0002.png"


@pytest.fixture(params=["evaluate", "calibrate"])
def score(request, model, monkeypatch, tmp_path, capsys):
    """Score pairs with one of the two commands; returns exit code, standard output and error."""
    monkeypatch.chdir(tmp_path)

    def call(pairs, *options, checkpoint=model):
        if request.param == "evaluate":
            monkeypatch.setattr(sys, "argv", [
                "evaluate", f"checkpoint={checkpoint}", "evaluation=[csv]", "output=out",
                f"evaluation.sets.csv.path={pairs}", "evaluation.bootstrap=20", *options,
            ])  # fmt: skip
            main = evaluate.main
        else:
            monkeypatch.setattr(sys, "argv", [
                "calibrate", str(checkpoint), "--pairs", str(pairs), "--far", "0.5",
                "--output", "out/calibration.json", "--cache", "out/cache", *options,
            ])  # fmt: skip

            def main():
                run(calibrate.main)

        try:
            main()
            code = 0
        except SystemExit as end:
            code = end.code
        told = capsys.readouterr()
        return code, told.out, told.err

    call.command = request.param
    return call


def refused(told, *parts):
    """Exit 1 and one line on standard error with all these parts, nothing printed."""
    code, out, err = told
    assert code == 1
    assert out == ""
    last = err.strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert "Traceback" not in err
    for part in parts:
        assert part in last


@pytest.mark.parametrize(
    ("rows", "parts"),
    [
        ([f"{SAME},1", f"{OTHER},0", "p00/gone.png,p07/lost.png,0"],
         ["own.csv: 2 of 5 images are missing: ", "p00/gone.png, ", "p07/lost.png; --skip-missing"]),
        ([f"{SAME},1"], ["own.csv: all 1 pairs are 'same'", "pairs of both kinds"]),
        ([f"{OTHER},0", f"{THIRD},0"], ["own.csv: all 2 pairs are 'different'"]),
        ([f"{SAME},1", f"{OTHER},0", f"{SAME},1"], ["1 pair comes more than once: line 4 is line 2"]),
        ([f"{SAME},1", f"{OTHER},0", f"{SAME},0"], ["line 4 calls two images different that line 2"]),
        ([f"{SAME},1,0", f"{OTHER},0,0"], ["own.csv: all pairs are in fold 0", "at least two"]),
        ([f"{SAME},1,0", f"{OTHER},0"], ["own.csv, line 3: fold is empty here"]),
        ([f"{SAME},1", f"{OTHER}"], ["own.csv, line 3: same is '', not 1 or 0"]),
        ([f"{SAME},1", f"{OTHER},0"], ["own.csv: 10 fold(s) for 2 pairs"]),
    ],
)  # fmt: skip
def test_lists(score, people, rows, parts):
    path = people / "own.csv"
    path.write_text("\n".join(["path_a,path_b,same,fold", *rows]) + "\n")
    refused(score(path), *parts)


def own(path, **changes):
    rng = np.random.default_rng(0)
    a, same = rng.standard_normal((40, 8)), np.arange(40) % 2 == 0
    b = a + np.where(same, 0.1, 3.0)[:, None] * rng.standard_normal((40, 8))
    arrays = {"embeddings_a": a, "embeddings_b": b, "same": same} | changes
    np.savez(path, **arrays)
    return arrays


def test_embeddings(score, tmp_path):
    path = tmp_path / "own.npz"
    b = own(path)["embeddings_b"]
    b[7] = np.nan
    own(path, embeddings_b=b)
    refused(score(path), "own.npz: the second embedding of pair 7 is not numbers (NaN or infinity)")
    a = own(path)["embeddings_a"]
    a[3] = a[1]
    b = own(path)["embeddings_b"]
    b[3] = b[1]
    own(path, embeddings_a=a, embeddings_b=b)
    refused(score(path), "own.npz: 1 pair comes more than once: pair 3 is pair 1 again")
    own(path, same=np.ones(40, bool))
    refused(score(path), "own.npz: all 40 pairs are 'same'")
    own(path, fold=np.zeros(40, int))
    refused(score(path), "own.npz: all pairs are in fold 0")
    own(path)
    path.write_bytes(path.read_bytes()[:500])
    refused(score(path), "own.npz is no .npz of plain arrays")


def test_networks_that_give_no_numbers(score, faces, pair_csv, broken_model):
    refused(score(pair_csv, checkpoint=broken_model), ".png: its embedding is not numbers (NaN")


def test_folders_that_are_no_runs(score, people, pair_csv):
    refused(score(pair_csv, checkpoint=people), "people holds no checkpoint (looked for")
    refused(score(pair_csv, checkpoint=people / "none"), "none does not exist; give a run folder")
    refused(score(people), "people is in no layout that is recognised")
    refused(score(people / "none.csv"), "none.csv does not exist")


def test_one_fold_by_setting(score, pair_csv):
    if score.command == "evaluate":
        refused(score(pair_csv, "evaluation.folds=1"), "evaluation.folds=1: give a whole number")
    else:
        refused(score(pair_csv, "--folds", "1"), "pairs.folds=1: give a whole number")


@pytest.mark.parametrize("key", ["batch_size", "workers", "bootstrap", "seed"])
def test_settings_that_are_no_numbers(model, pair_csv, monkeypatch, capsys, key):
    monkeypatch.setattr(sys, "argv", [
        "evaluate", f"checkpoint={model}", "evaluation=[csv]", f"evaluation.{key}=many",
        f"evaluation.sets.csv.path={pair_csv}",
    ])  # fmt: skip
    with pytest.raises(SystemExit) as end:
        evaluate.main()
    told = capsys.readouterr()
    parts = f"evaluation.{key}=many: give a whole number"
    refused((end.value.code, told.out, told.err), parts)


def test_folds_are_made_anew_when_asked(faces):
    path = faces / "own.csv"
    rows = [f"{SAME},1,0", f"{OTHER},0,0", f"{THIRD},0,0", "p04/p04_0001.png,p04/p04_0002.png,1,0"]
    path.write_text("\n".join(["path_a,path_b,same,fold", *rows]) + "\n")
    assert load_pairs({"path": str(path), "folds": 2}).folds == 2
    with pytest.raises(FrfwError, match="folds=10 makes ten of consecutive pairs"):
        load_pairs(path)


def test_missing_images_are_skipped_when_asked(score, faces, pair_csv, caplog):
    (faces / "p00" / "p00_0002.png").unlink()
    code, out, err = score(pair_csv, "--skip-missing")
    assert code == 0, err
    assert "skipped pairs" in out
    assert "1 images are missing" in caplog.text


def test_skip_missing_reaches_sets_that_are_added(model, faces, pair_csv, monkeypatch, capsys):
    (faces / "p00" / "p00_0002.png").unlink()
    monkeypatch.chdir(faces)
    given = [f"checkpoint={model}", "evaluation=[]", f"+evaluation.sets.mine.path={pair_csv}"]
    monkeypatch.setattr(sys, "argv", ["evaluate", *given, "output=out", "evaluation.bootstrap=0"])
    with pytest.raises(SystemExit):
        evaluate.main()
    assert "1 of 42 images are missing" in capsys.readouterr().err
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--skip-missing"])
    evaluate.main()
    assert "mine: " in capsys.readouterr().out


@pytest.mark.parametrize("command", ["evaluate"])
def test_bad_lists_of_people(model, people, monkeypatch, capsys, command):
    (people / "gallery.csv").write_text("path, identity\np00/p00_0001.png\n")
    given = "evaluation.sets.identification"
    monkeypatch.chdir(people)
    monkeypatch.setattr(sys, "argv", [
        command, f"checkpoint={model}", "evaluation=[identification]", "output=out",
        f"{given}.gallery=gallery.csv", f"{given}.probe=gallery.csv",
    ])  # fmt: skip
    with pytest.raises(SystemExit) as end:
        evaluate.main()
    told = capsys.readouterr()
    refused((end.value.code, told.out, told.err), "gallery.csv, line 2: identity is empty")


def calibrated(model, monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["calibrate", str(model), *map(str, arguments)])
    try:
        run(calibrate.main)
        code = 0
    except SystemExit as end:
        code = end.code
    told = capsys.readouterr()
    return code, told.out, told.err


def test_calibration_without_enough_impostors(model, pair_csv, monkeypatch, capsys):
    """Refused before an image is embedded: these are not of the network's size."""
    told = calibrated(model, monkeypatch, capsys, "--pairs", pair_csv, "--far", "1e-3")
    refused(told, "20 impostor pairs are too few for FAR 0.001: one false accept needs 1000")
    told = calibrated(model, monkeypatch, capsys, "--pairs", pair_csv, "--far", "0")
    refused(told, "far 0: a false accept rate lies between 0 and 1")


def test_options_of_calibration(model, faces, pair_csv, tmp_path, monkeypatch, capsys):
    run_folder = tmp_path / "run"
    shutil.copytree(model, run_folder)
    given = ("--pairs", pair_csv, "--far", "0.1", "--bootstrap", "0", "--folds", "5",
             "--precision", "bf16", "--exclude", "p00", "--batch-size", "16")  # fmt: skip
    code, out, err = calibrated(run_folder, monkeypatch, capsys, *given)
    assert code == 0, err
    assert "(no interval)" in out
    found = Calibration.load(run_folder / "calibration.json")
    assert found.threshold_interval is None
    assert found.details["precision"] == "bf16"
    assert found.genuine + found.impostors < 40
    assert len(list((run_folder / "evaluation" / "cache").iterdir())) == 1
    refused(calibrated(run_folder, monkeypatch, capsys, *given, "--precision", "int8"), "int8")
    refused(calibrated(run_folder, monkeypatch, capsys, *given, "--bootstrap", "-1"), "bootstrap")


def test_a_network_chosen_on_the_set_is_said_to_flatter(model, faces, pair_csv, tmp_path,
                                                        monkeypatch, capsys):  # fmt: skip
    import torch

    run_folder = tmp_path / "run"
    shutil.copytree(model, run_folder)
    best = run_folder / "checkpoints" / "best.pt"
    content = torch.load(best, weights_only=True)
    content["config"]["evaluation"] = {"sets": {"own": {"path": str(pair_csv)}}}
    torch.save(content, best)
    lines = [json.dumps({"step": step, "val/own/accuracy": 0.5}) for step in (1, 2)]
    (run_folder / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    given = ("--pairs", pair_csv, "--far", "0.1", "--bootstrap", "0")
    warning = "best.pt was chosen among the run's checkpoints by its score on this set"
    assert warning in calibrated(run_folder, monkeypatch, capsys, *given)[1]
    monkeypatch.setattr(sys, "argv", [
        "evaluate", f"checkpoint={run_folder}", "evaluation=[csv]", "evaluation.bootstrap=0",
        f"evaluation.sets.csv.path={pair_csv}",
    ])  # fmt: skip
    evaluate.main()
    assert f"csv: {warning}" in capsys.readouterr().out
    figures = json.loads((run_folder / "evaluation" / "csv.json").read_text())
    assert figures["details"]["chosen_on_this_set"] is True
    shutil.copy(best, best.with_name("last.pt"))
    last = calibrated(best.with_name("last.pt"), monkeypatch, capsys, *given)
    assert last[0] == 0
    assert warning not in last[1]
    (run_folder / "metrics.jsonl").write_text(lines[0] + "\n")  # looked at once: no choice
    assert warning not in calibrated(run_folder, monkeypatch, capsys, *given)[1]
