"""Identification and IJB sets from files to figures."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from frfw.data.alignment import Alignment
from frfw.errors import FrfwError
from frfw.evaluation import EmbeddingCache, Extraction, open_sets
from frfw.evaluation.aligned import LandmarkImages
from frfw.evaluation.plots import cmc_figure, save_figure
from frfw.evaluation.protocol_result import protocol_table
from frfw.evaluation.protocols import open_protocols, score_protocol

# Points where the template has them, so that aligning a 32-pixel face leaves it as it is.
IN_PLACE = " ".join(f"{x:.6f}" for x in Alignment(size=32).target().ravel())
HOW = Extraction(size=32, batch_size=16)


def embed(images):
    x = torch.nn.functional.adaptive_avg_pool2d(images.float(), 4).flatten(1)
    return x - x.mean(dim=1, keepdim=True)


def lists(people, enrolled):
    """Image 1 of the first `enrolled` people is the gallery; the others' images the probes."""
    files = sorted(people.rglob("*.png"))
    rows = [f"{f.relative_to(people)},{f.parent.name}" for f in files]
    gallery = [r for r in rows if "_0001" in r][:enrolled]
    probes = [r for r in rows if "_0001" not in r]
    for name, chosen in (("gallery.csv", gallery), ("probe.csv", probes)):
        (people / name).write_text("\n".join(["path,identity", *chosen]) + "\n")
    return {
        "kind": "identification",
        "gallery": str(people / "gallery.csv"),
        "probe": str(people / "probe.csv"),
    }


def test_identification_from_lists(people, tmp_path):
    source = lists(people, 8) | {"fpir": [0.25], "ranks": [1, 2]}
    result = score_protocol(embed, "search", source, HOW)
    found = result.identification["gallery"]
    assert (found.identities, found.mated, found.nonmated) == (8, 24, 12)
    assert found.rank_rate(1) > 0.9
    assert found.tpir_at_fpir[0.25] > 0.5
    assert "rank-2" in protocol_table(result)
    assert save_figure(cmc_figure({"gallery": found.cmc}), tmp_path / "cmc.png").stat().st_size


def test_figures_have_the_names_that_logs_use(people, tmp_path):
    result = score_protocol(embed, "search", lists(people, 8) | {"fpir": [0.25, 1e-9]}, HOW)
    assert set(result.figures()) == {"rank_1", "rank_5", "rank_10", "tpir_at_fpir_0.25"}
    templates = score_protocol(embed, "x", ijb(people, tmp_path), HOW).figures()
    assert {"auc", "eer", "tar_at_far_0.1", "rank_1"} <= set(templates)


def test_missing_protocol_sets_are_passed_over_unless_alone(people, caplog):
    source = lists(people, 8)
    gone = source | {"gallery": str(people / "none.csv")}
    assert list(open_protocols({"a": source, "b": gone, "lfw": "lfw.bin"})) == ["a"]
    assert "b is skipped" in caplog.text
    with pytest.raises(FrfwError, match=r"evaluation set b: .*none\.csv does not exist"):
        open_protocols({"b": gone})
    with pytest.raises(FrfwError, match=r"evaluation\.sets\.b\.gallery is not set"):
        open_protocols({"a": source, "b": source | {"gallery": None}})


def test_listed_images_that_are_missing_are_left_out(people, caplog):
    source = lists(people, 8)
    (people / "p00" / "p00_0002.png").unlink()
    with pytest.raises(FrfwError, match=r"1 of 36 images are missing: .*p00_0002\.png; --skip"):
        score_protocol(embed, "search", source, HOW)
    result = score_protocol(embed, "search", source | {"skip_missing": True}, HOW)
    assert result.identification["gallery"].mated == 23
    assert "1 of 36 images are missing" in caplog.text


def test_images_in_gallery_and_probes_are_refused(people):
    source = lists(people, 8)
    with pytest.raises(FrfwError, match="8 images are in the gallery and among the probes"):
        score_protocol(embed, "search", source | {"probe": source["gallery"]}, HOW)


def ijb(people, tmp_path):
    meta = tmp_path / "meta"
    meta.mkdir()
    files = [f.relative_to(people) for f in sorted(people.rglob("*.png"))]
    # Templates 2 w + 1 and 2 w + 2 hold two images each of person w; the second's are one video.
    media, points = [], []
    for at, file in enumerate(files):
        who, place = divmod(at, 4)
        media.append(f"{file} {2 * who + 1 + place // 2} {100 + (at if place < 2 else who)}")
        points.append(f"{file} {IN_PLACE} 0.9")
    (meta / "x_face_tid_mid.txt").write_text("\n".join(media) + "\n")
    (meta / "x_name_5pts_score.txt").write_text("\n".join(reversed(points)) + "\n")
    pairs = [f"{2 * a + 1} {2 * b + 2} {int(a == b)}" for a in range(12) for b in range(12)]
    (meta / "x_template_pair_label.txt").write_text("\n".join(pairs) + "\n")
    rows = [f"{2 * w + 1},{w}" for w in range(9)]
    (meta / "x_1N_gallery_G1.csv").write_text("\n".join(["TEMPLATE_ID,SUBJECT_ID", *rows]))
    rows = [f"{2 * w + 2},{w}" for w in range(12)]
    (meta / "x_1N_probe_mixed.csv").write_text("\n".join(["TEMPLATE_ID,SUBJECT_ID", *rows]))
    return {
        "kind": "templates",
        "images": str(people),
        "meta": str(meta),
        "prefix": "x",
        "galleries": ["G1", "G2"],
    }


def test_templates_from_files(people, tmp_path, caplog):
    source = ijb(people, tmp_path)
    cache = EmbeddingCache(tmp_path / "cache", "model", "preprocessing")
    result = score_protocol(embed, "x", source, HOW, cache)
    assert (result.verification.genuine_count, result.verification.impostor_count) == (12, 132)
    assert result.verification.auc > 0.95
    assert list(result.identification) == ["G1"]
    assert "x: no 1:N with x_1N_gallery_G2.csv: not in" in caplog.text
    assert result.identification["G1"].nonmated == 3
    assert "1:1" in protocol_table(result)

    def must_not_run(images):
        raise AssertionError("the cache was not used")

    again = score_protocol(must_not_run, "x", source, HOW, cache)
    assert again.verification.auc == result.verification.auc
    other = EmbeddingCache(tmp_path / "cache", "another model", "preprocessing")
    with pytest.raises(AssertionError, match="not used"):
        score_protocol(must_not_run, "x", source, HOW, other)


def test_alignment_by_points(people, tmp_path):
    source = ijb(people, tmp_path)
    cut = score_protocol(embed, "x", source, HOW)
    ready = score_protocol(embed, "x", source | {"aligned": True}, HOW)
    assert cut.verification.auc == pytest.approx(ready.verification.auc, abs=1e-9)
    file = people / "p00" / "p00_0001.png"
    with pytest.raises(FrfwError, match=r"p00_0001\.png: the landmarks lie all in one place"):
        LandmarkImages([file], np.ones((1, 5, 2)), "x").read(0)


def test_bad_template_sets(people, tmp_path):
    source = ijb(people, tmp_path)
    (people / "p03" / "p03_0002.png").unlink()
    with pytest.raises(FrfwError, match=r"1 of 48 images are missing: .*p03_0002\.png; --skip"):
        score_protocol(embed, "x", source, HOW)
    with pytest.raises(FrfwError, match="Did you mean 'keep_norm'"):
        score_protocol(embed, "x", source | {"keep_nrm": True}, HOW)
    with pytest.raises(FrfwError, match="kind=template: choose"):
        score_protocol(embed, "x", source | {"kind": "template"}, HOW)


def test_templates_without_their_missing_images(people, tmp_path, caplog):
    """Left out when asked; a template that has none left cannot be scored."""
    source = ijb(people, tmp_path) | {"skip_missing": True}
    (people / "p03" / "p03_0001.png").unlink()
    result = score_protocol(embed, "x", source, HOW)
    assert result.verification.genuine_count == 12
    assert "1 of 48 images are missing" in caplog.text
    (people / "p03" / "p03_0002.png").unlink()
    with pytest.raises(FrfwError, match=r"all of template 7"):
        score_protocol(embed, "x", source, HOW)


@pytest.mark.parametrize("damage", [lambda b: b[:100], lambda b: b"", lambda b: b"PK\3\4" + b])
def test_damaged_cache_is_made_again(people, tmp_path, damage, caplog):
    source = lists(people, 8)
    cache = EmbeddingCache(tmp_path / "cache", "model", "preprocessing")
    first = score_protocol(embed, "search", source, HOW, cache)
    (kept,) = (tmp_path / "cache").iterdir()
    kept.write_bytes(damage(kept.read_bytes()))
    again = score_protocol(embed, "search", source, HOW, cache)
    assert "is damaged; it is made again" in caplog.text
    assert np.array_equal(again.identification["gallery"].cmc, first.identification["gallery"].cmc)


@pytest.mark.parametrize(
    ("key", "value"), [("fpir", [0]), ("fpir", ["x"]), ("ranks", [0]), ("ranks", 1.5), ("rank", 0)]
)
def test_figures_that_cannot_be_are_refused_before_embedding(people, key, value):
    with pytest.raises(FrfwError, match=rf"search\.{key}="):
        open_protocols({"search": lists(people, 8) | {key: value}})


def test_lists_are_read_before_embedding(people, tmp_path):
    """Whatever is wrong with a list of a set is said when the set is opened."""
    source = ijb(people, tmp_path)
    meta = tmp_path / "meta"
    pairs, gallery = meta / "x_template_pair_label.txt", meta / "x_1N_gallery_G1.csv"
    assert open_protocols({"x": source})["x"].galleries.keys() == {"G1"}
    for path, text, message in (
        (pairs, "1 2 1\n", "all 1 pairs are 'same'"),
        (pairs, "1 2 1\n1 99 0\n", "template 99 has no image"),
        (gallery, "TEMPLATE_ID,SUBJECT_ID\n99,1\n", "template 99 has no image"),
        (gallery, "TEMPLATE_ID,SUBJECT_ID\n2,1\n", r"1 templates, e\.g\. 2, are among the probes"),
    ):
        kept = path.read_text()
        path.write_text(text)
        with pytest.raises(FrfwError, match=rf"{path.name}.*{message}"):
            open_protocols({"x": source})
        path.write_text(kept)
    with pytest.raises(FrfwError, match=r"8 images are in the gallery and among the probes"):
        open_protocols({"s": lists(people, 8) | {"probe": str(people / "gallery.csv")}})


def test_one_rule_for_sets_that_are_not_there(people, caplog):
    search, pairs = lists(people, 8), {"path": str(people / "none.bin")}
    gone = search | {"probe": str(people / "none.csv")}
    assert open_sets({"lfw": pairs, "search": search}) == {}
    assert "evaluation set lfw is skipped" in caplog.text
    assert open_protocols({"lfw": pairs, "search": gone}) == {}
    assert "evaluation set search is skipped" in caplog.text
    for only in ({"search": gone}, {"lfw": pairs}):
        with pytest.raises(FrfwError, match=r"evaluation set \w+: .*none\.\w+ does not exist"):
            open_sets(only) if "lfw" in only else open_protocols(only)


def test_skip_missing_is_the_default_of_every_set(people, pair_csv):
    search = lists(people, 8)
    (people / "p00" / "p00_0002.png").unlink()
    assert len(open_sets({"own": str(pair_csv)}, skip_missing=True)["own"]) < 40
    assert len(open_protocols({"search": search}, skip_missing=True)["search"].images) == 43
    for told in ({"path": str(pair_csv), "skip_missing": False}, search | {"skip_missing": False}):
        with pytest.raises(FrfwError, match=r"1 of .* images are missing"):
            open_sets({"a": told}, skip_missing=True)
            open_protocols({"a": told}, skip_missing=True)
