"""Identification and template sets scored while a run trains."""

from __future__ import annotations

import json

import pytest

from frfw.data import open_source
from frfw.data.alignment import Alignment
from frfw.tracking import load_run


@pytest.fixture
def sets(blobs, tmp_path):
    """A gallery of 6 of the 8 identities, probes of all, and templates of the same images."""
    dataset = open_source(str(blobs))
    for index, label in enumerate(dataset.labels):
        place = index % 6
        if place > 1 or (place == 0 and label >= 6):
            continue
        path = tmp_path / ("gallery" if place == 0 else "probe") / f"p{label}" / f"{place}.jpg"
        path.parent.mkdir(parents=True)
        path.write_bytes(dataset.read(index))
    meta = tmp_path / "meta"
    meta.mkdir()
    points = " ".join(f"{x:.4f}" for x in Alignment(size=32).target().ravel())
    files = [f"{d}/p{w}/{i}.jpg" for w in range(6) for i, d in enumerate(("gallery", "probe"))]
    media = [f"{file} {at} {at}" for at, file in enumerate(files)]
    pairs = [f"{2 * a} {2 * b + 1} {int(a == b)}" for a in range(6) for b in range(6)]
    (meta / "ijbc_face_tid_mid.txt").write_text("\n".join(media) + "\n")
    (meta / "ijbc_name_5pts_score.txt").write_text("\n".join(f"{f} {points} 1" for f in files))
    (meta / "ijbc_template_pair_label.txt").write_text("\n".join(pairs) + "\n")
    return [
        "evaluation=[lfw,identification,ijbc]",
        f"evaluation.sets.identification.gallery={tmp_path / 'gallery'}",
        f"evaluation.sets.identification.probe={tmp_path / 'probe'}",
        "evaluation.sets.identification.fpir=[0.5]",
        f"evaluation.sets.ijbc.images={tmp_path}",
        f"evaluation.sets.ijbc.meta={meta}",
    ]


@pytest.mark.slow
def test_all_protocols_are_scored_logged_and_reported(train, tmp_path, sets):
    done = train("name=all", "trainer.evaluate_every=3", *sets)
    assert done.returncode == 0, done.stderr
    run = load_run(tmp_path / "runs" / "all")
    for figure in ("identification/rank_1", "identification/tpir_at_fpir_0.5", "ijbc/auc"):
        assert run.curves[f"val/{figure}"].steps.tolist() == [3, 6]
    assert run.headlines["identification"] == "rank_1"
    assert run.score("identification") == run.curves["val/identification/rank_1"].last
    assert run.result["best"]["metric"] == "mean accuracy"  # the pairs still choose
    kept = json.loads((run.folder / "evaluation" / "identification.json").read_text())
    found = kept["identification"]["gallery"]
    assert (found["identities"], found["mated"], found["nonmated"]) == (6, 6, 2)
    assert "identification rank 1" in (run.folder / "log.txt").read_text()
    page = (run.folder / "report.html").read_text()
    for told in ("Identification and templates", "TPIR at 0.5", "CMC: identification", "rank 1"):
        assert told in page, told


@pytest.mark.slow
def test_a_run_without_pairs_keeps_the_best_search(train, tmp_path, sets):
    given = ["evaluation=[identification]", *sets[1:4]]
    done = train("name=search", "trainer.steps=2", *given)
    assert done.returncode == 0, done.stderr
    best = load_run(tmp_path / "runs" / "search").result["best"]
    assert best["metric"] == "mean headline figure"
    assert 0 < best["value"] <= 1
