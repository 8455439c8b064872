"""Loading pair sets from every source, and what is refused."""

from __future__ import annotations

import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from frfw.data import write_pack
from frfw.errors import FrfwError
from frfw.evaluation import Extraction, evaluate_sets, load_pairs, open_sets

HOW = Extraction(size=32, batch_size=7)


@pytest.fixture
def embed():
    import torch

    def pixels(images):
        x = torch.nn.functional.adaptive_avg_pool2d(images.float(), 4).flatten(1)
        return x - x.mean(dim=1, keepdim=True)

    return pixels


def test_csv_and_pack_of_the_same_pairs_give_the_same_figures(pair_csv, embed, tmp_path):
    listed = load_pairs(pair_csv)
    data = [listed.images.data(i) for i in listed.pairs.reshape(-1)]
    write_pack(tmp_path / "set.bin", data, listed.same)
    packed = load_pairs(tmp_path / "set.bin")
    assert len(packed.images) == len(listed.images) < 80  # repeated images are embedded once
    results = evaluate_sets(embed, {"a": listed, "b": packed}, HOW)
    assert np.allclose(results["a"].scores, results["b"].scores, atol=1e-6)
    assert results["a"].accuracy > 0.9
    assert results["a"].details["flip"] is True


def test_pack_identities_follow_from_same_pairs(pair_csv, tmp_path):
    listed = load_pairs(pair_csv)
    data = [listed.images.data(i) for i in listed.pairs.reshape(-1)]
    write_pack(tmp_path / "set.bin", data, listed.same)
    packed = load_pairs(tmp_path / "set.bin")
    joined = packed.identities[packed.pairs]
    assert (joined[packed.same, 0] == joined[packed.same, 1]).all()
    true = listed.identities[listed.pairs].reshape(-1)
    for name in np.unique(joined):  # never two people under one number
        assert np.unique(true[joined.reshape(-1) == name]).size == 1


def test_groups_and_folds_of_a_csv(pair_csv, embed):
    lines = pair_csv.read_text().splitlines()
    ages = ["young", "young", "old", "old"] * 10
    rows = [f"{line},{at % 4},{ages[at]}" for at, line in enumerate(lines[1:])]
    pair_csv.write_text("\n".join([lines[0] + ",fold,group", *rows]))
    found = load_pairs(pair_csv)
    assert np.array_equal(found.folds, np.arange(40) % 4)
    result = evaluate_sets(embed, {"set": found}, HOW)["set"]
    assert result.fold_accuracies.size == 4
    assert {g: f["pair_count"] for g, f in result.groups.items()} == {"old": 20, "young": 20}


def test_folds_that_a_list_does_not_give_are_the_settings(pair_csv, embed):
    assert evaluate_sets(embed, {"set": pair_csv}, HOW)["set"].fold_accuracies.size == 10
    five = evaluate_sets(embed, {"set": pair_csv}, HOW, folds=5)["set"]
    assert np.array_equal(five.folds, np.repeat(np.arange(5), 8))
    with pytest.raises(FrfwError, match=r"set: .*pairs\.csv: 1 fold"):
        evaluate_sets(embed, {"set": pair_csv}, HOW, folds=1)


def test_restriction_by_identity(pair_csv):
    names = pair_csv.parent / "names.txt"
    names.write_text("p00  # the first\np01\np02\np03\np04\np05\n")
    every = load_pairs(pair_csv)
    inside = load_pairs({"path": str(pair_csv), "keep": str(names)})
    outside = load_pairs({"path": str(pair_csv), "exclude": ["p00", str(names)]})
    assert 0 < len(inside) < len(every)
    assert {p.parent.name for p in inside.images.items} <= {f"p{i:02d}" for i in range(6)}
    assert not {p.parent.name for p in outside.images.items} & {f"p{i:02d}" for i in range(6)}
    assert len(inside.images) == np.unique(inside.pairs).size
    with pytest.raises(FrfwError, match="'p99' is neither"):
        load_pairs({"path": str(pair_csv), "keep": "p99"})


def test_folders_that_are_no_identities_are_not_taken_for_them(people):
    flat = people / "flat"
    flat.mkdir()
    lines = ["path_a,path_b,same"]
    for who in range(6):
        for index in (1, 2):
            file = f"p{who:02d}_{index:04d}.png"
            shutil.copy(people / f"p{who:02d}" / file, flat / file)
        lines.append(f"flat/p{who:02d}_0001.png,flat/p{who:02d}_0002.png,1")
        lines.append(f"flat/p{who:02d}_0001.png,flat/p{(who + 1) % 6:02d}_0002.png,0")
    (people / "flat.csv").write_text("\n".join(lines))
    found = load_pairs(people / "flat.csv")
    a, b = found.identities[found.pairs].T
    assert np.array_equal(a == b, found.same)
    with pytest.raises(FrfwError, match="names no identities"):
        load_pairs({"path": str(people / "flat.csv"), "keep": "flat"})


def test_missing_images_are_listed_then_skipped(pair_csv):
    gone = load_pairs(pair_csv).images.items[3]
    gone.unlink()
    with pytest.raises(FrfwError, match=rf"images are missing: {gone}; --skip-missing"):
        load_pairs(pair_csv)
    found = load_pairs({"path": str(pair_csv), "skip_missing": True})
    assert 0 < len(found) < 40
    assert found.details["skipped_pairs"] > 0


def write_layout(root: Path, layout: str) -> Path:
    """Write 20 pairs of empty images in a published layout; return an image that is in some."""
    people = [f"p{i}" for i in range(10)]
    sides = [(a, 1, a, 2) for a in people] + [(a, 1, b, 1) for a, b in pairwise(people)]
    sides.append((people[0], 2, people[5], 2))
    group = "data/Asian/" if layout == "rfw" else ""
    data = "Data/Images" if layout.startswith("cfp") else ""

    def file(name: str, number: int) -> str:
        stem = f"{name}_{number:04d}" if not data else f"{number:02d}"
        return f"{group}{data and data + '/'}{name}/{data and 'frontal/'}{stem}.jpg"

    for name in people:
        for number in (1, 2):
            path = root / file(name, number)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"")
    ends = [(file(a, i), file(b, j), a == b) for a, i, b, j in sides]
    words = [f"{a}\t{i}\t{j}" if a == b else f"{a}\t{i}\t{b}\t{j}" for a, i, b, j in sides]
    if layout in ("lfw", "xqlfw"):
        name = "pairs.txt" if layout == "lfw" else "xqlfw_pairs.txt"
        folds = [*words[:5], *words[10:15], *words[5:10], *words[15:]]
        (root / name).write_text("\n".join(["2\t5", *folds]) + "\n")
    elif layout == "rfw":
        (root / "txts" / "Asian").mkdir(parents=True)
        (root / "txts" / "Asian" / "Asian_pairs.txt").write_text("\n".join(words) + "\n")
    elif layout in ("calfw", "cplfw"):
        lines = [f"{end} {int(same)}" for a, b, same in ends for end in (a, b)]
        (root / f"pairs_{layout.upper()}.txt").write_text("\n".join(lines) + "\n")
    elif data:
        files = [file(name, number) for name in people for number in (1, 2)]
        (root / "Protocol").mkdir()
        for letter in "FP":
            listed = "\n".join(f"{at} ../{path}" for at, path in enumerate(files, 1))
            (root / "Protocol" / f"Pair_list_{letter}.txt").write_text(listed + "\n")
        for fold in ("01", "02"):
            folder = root / "Protocol" / "Split" / layout[-2:].upper() / fold
            folder.mkdir(parents=True)
            for kind, same in (("same.txt", True), ("diff.txt", False)):
                rows = [
                    f"{files.index(a) + 1},{files.index(b) + 1}" for a, b, s in ends if s == same
                ]
                half = rows[::2] if fold == "01" else rows[1::2]
                (folder / kind).write_text("\n".join(half) + "\n")
    else:  # AgeDB's list, or one of one's own
        head = "a,b,same" if layout == "agedb_30" else "path_a,path_b,same"
        rows = [f"{a},{b},{int(same)}" for a, b, same in ends]
        name = "agedb_30.csv" if layout == "agedb_30" else "own.csv"
        (root / name).write_text("\n".join([head, *rows]) + "\n")
    return root / file("p3", 1)


@pytest.mark.parametrize(
    "layout",
    ["lfw", "xqlfw", "cfp_ff", "cfp_fp", "agedb_30", "calfw", "cplfw", "rfw", "csv"],
)
def test_missing_images_are_refused_or_skipped_in_every_layout(layout, tmp_path, caplog):
    gone = write_layout(tmp_path, layout)
    path = tmp_path / "own.csv" if layout == "csv" else tmp_path
    source = {"path": str(path), "layout": layout if layout != "csv" else "auto"}
    every = load_pairs(source)
    gone.unlink()
    with pytest.raises(FrfwError, match=rf"images are missing: {gone}; --skip-missing"):
        load_pairs(source)
    found = load_pairs(source | {"skip_missing": True})
    assert (len(every), len(found)) == (20, 17)  # p3's first image is in three pairs
    assert found.details["skipped_pairs"] == 3
    assert found.details["missing_images"] == 1
    assert gone not in found.images.items
    assert "3 of 20 pairs are skipped, 1 images are missing" in caplog.text
    if np.ndim(found.folds):  # the others keep the folds of the protocol
        assert set(found.folds) <= set(every.folds)


@pytest.mark.parametrize("layout", ["lfw", "xqlfw", "cfp_fp", "agedb_30", "calfw", "cplfw", "rfw"])
def test_layouts_are_recognised(layout, tmp_path):
    write_layout(tmp_path, layout)
    assert load_pairs(tmp_path).name == layout


def test_places_that_would_not_be_read_are_refused(pair_csv, tmp_path):
    with pytest.raises(FrfwError, match=r"\(csv\) has its pair list; leave out pairs="):
        load_pairs({"path": str(pair_csv), "pairs": "other.csv"})
    write_layout(tmp_path, "lfw")
    with pytest.raises(FrfwError, match=r"images= is for a \.csv"):
        load_pairs({"path": str(tmp_path), "layout": "lfw", "images": str(tmp_path)})


def test_images_of_cplfw_lie_in_a_folder_of_their_own(tmp_path):
    write_layout(tmp_path, "cplfw")
    for person in [p for p in tmp_path.iterdir() if p.is_dir()]:
        for folder in ("aligned images", "images"):
            shutil.copytree(person, tmp_path / folder / person.name)
        shutil.rmtree(person)
    found = load_pairs({"path": str(tmp_path), "layout": "cplfw"})
    assert {path.parts[-3] for path in found.images.items} == {"aligned images"}


def test_nothing_left_is_refused(tmp_path):
    write_layout(tmp_path, "lfw")
    for image in tmp_path.rglob("*.jpg"):
        image.unlink()
    with pytest.raises(FrfwError, match="no pair whose images are here"):
        load_pairs({"path": str(tmp_path), "layout": "lfw", "skip_missing": True})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path_a,path_c,same\n", "no column 'path_b'. Did you mean 'path_c'"),
        ("path_a,path_b,same\n", "lists no pair"),
        ("path_a,path_b,same\np00/a.png,p00/b.png,maybe\n", "line 2: same is 'maybe'"),
        ("path_a,path_b,same\n,p00/p00_0002.png,1\n", "line 2: a path is empty"),
        ("path_a,path_b,same\n../p00/p00_0001.png,p00/p00_0002.png,1\n", "leads out of"),
        (
            "path_a,path_b,same\np00/p00_0001.png,p00/p00_0002.png,1\n"
            "p00/p00_0002.png,p00/p00_0001.png,1\n",
            "1 pair comes more than once: line 3 is line 2 again; remove them",
        ),
    ],
)
def test_bad_csv(people, text, message):
    (people / "bad.csv").write_text(text)
    with pytest.raises(FrfwError) as caught:
        load_pairs(people / "bad.csv")
    assert message in str(caught.value)


def test_embeddings_of_ones_own(tmp_path, embed):
    rng = np.random.default_rng(0)
    a, same = rng.standard_normal((60, 8)), np.arange(60) % 2 == 0
    b = np.where(same[:, None], a + 0.1, rng.standard_normal((60, 8)))
    np.savez(tmp_path / "own.npz", embeddings_a=a, embeddings_b=b, same=same)
    result = evaluate_sets(embed, {"own": tmp_path / "own.npz"}, bootstrap=20)["own"]
    assert result.auc > 0.99
    assert set(result.intervals) >= {"accuracy", "auc", "eer", "tar@0.1"}
    np.savez(tmp_path / "bad.npz", embeddings=a, pairs=[[0, 60]], same=[True])
    with pytest.raises(FrfwError, match=r"rows outside 0\.\.59"):
        load_pairs(tmp_path / "bad.npz")
    a[4] = np.nan
    np.savez(tmp_path / "nan.npz", embeddings_a=a, embeddings_b=b, same=same)
    with pytest.raises(FrfwError, match=r"nan\.npz: the first embedding of pair 4 is not numbers"):
        load_pairs(tmp_path / "nan.npz")


def test_missing_sets_are_skipped_unless_alone(pair_csv, caplog):
    sets = {"here": str(pair_csv), "gone": str(pair_csv.parent / "gone.bin")}
    assert list(open_sets(sets)) == ["here"]
    assert "gone is skipped" in caplog.text
    with pytest.raises(FrfwError, match=r"gone.bin does not exist"):
        open_sets({"gone": sets["gone"]})


def test_nan_embeddings_name_the_image(pair_csv, embed):
    def broken(images):
        return embed(images) * float("nan")

    with pytest.raises(FrfwError, match=r"p\d\d_000\d.png: its embedding is not numbers"):
        evaluate_sets(broken, {"set": pair_csv}, HOW)


def test_rfw_groups(people, tmp_path, embed):
    for group in ("African", "Asian"):
        shutil.copytree(people, tmp_path / "rfw" / "data" / group)
        lines = [f"p{i:02d}\t1\t2" for i in range(12)]
        lines += [f"p{i:02d}\t1\tp{(i + 1) % 12:02d}\t3" for i in range(12)]
        txts = tmp_path / "rfw" / "txts" / group
        txts.mkdir(parents=True)
        body = "\n".join(line for pair in zip(lines[:12], lines[12:]) for line in pair)
        (txts / f"{group}_pairs.txt").write_text(body + "\n")
    found = load_pairs({"path": str(tmp_path / "rfw"), "layout": "rfw"})
    assert len(found) == 48
    result = evaluate_sets(embed, {"rfw": found}, HOW)["rfw"]
    assert list(result.groups) == ["African", "Asian"]
    assert result.groups["Asian"]["pair_count"] == 24


def test_xqlfw_is_lfw_with_its_own_list(people):
    lines = ["2\t3"]
    for fold in range(2):
        lines += [f"p{fold * 3 + i:02d}\t1\t2" for i in range(3)]
        lines += [f"p{fold * 3 + i:02d}\t1\tp{fold * 3 + i + 6:02d}\t2" for i in range(3)]
    (people / "xqlfw_pairs.txt").write_text("\n".join(lines) + "\n")
    found = load_pairs({"path": str(people), "layout": "xqlfw"})
    assert found.name == "xqlfw"
    assert len(found) == 12
    assert np.array_equal(found.folds, np.repeat([0, 1], 6))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("p00/p00_0001.png,p00/p00_0002.png,1,0", "all 1 pairs are 'same'"),
        ("p00/p00_0001.png,p01/p01_0001.png,0,0", "all 1 pairs are 'different'"),
        (
            "p00/p00_0001.png,p00/p00_0002.png,1,3\np00/p00_0001.png,p01/p01_0001.png,0,3",
            "all pairs are in fold 3: cross-validation needs at least two",
        ),
    ],
)
def test_what_cannot_be_scored_is_refused_before_embedding(people, rows, message):
    (people / "own.csv").write_text(f"path_a,path_b,same,fold\n{rows}\n")
    with pytest.raises(FrfwError, match=rf"own\.csv: {message}"):
        load_pairs(people / "own.csv")


def test_unknown_options_are_named(pair_csv):
    with pytest.raises(FrfwError, match="Did you mean 'exclude'"):
        load_pairs({"path": str(pair_csv), "excude": "p00"})
    with pytest.raises(FrfwError, match="Did you mean 'lfw'"):
        load_pairs({"path": str(Path(pair_csv).parent), "layout": "lwf"})


def test_embedding_files_that_are_damaged(tmp_path):
    rows, same = np.eye(6, dtype=np.float32), np.array([True, False, True])
    whole = tmp_path / "whole.npz"
    np.savez(whole, embeddings_a=rows[:3], embeddings_b=rows[3:], same=same)
    found = load_pairs(whole)
    # Without names, the two images of a genuine pair are one person.
    assert found.identities[0] == found.identities[3] != found.identities[4]
    for name, data in (("cut", whole.read_bytes()[:300]), ("empty", b"")):
        (tmp_path / f"{name}.npz").write_bytes(data)
        with pytest.raises(FrfwError, match=r"is no \.npz of plain arrays"):
            load_pairs(tmp_path / f"{name}.npz")
    given = {"embeddings": rows, "pairs": [[0, 1], [2, 3], [4, 5]], "same": same}
    np.savez(tmp_path / "who.npz", **given, identity=[1, 2])
    with pytest.raises(FrfwError, match="identity has shape"):
        load_pairs(tmp_path / "who.npz")
    np.savez(tmp_path / "kinds.npz", **{**given, "same": [0, 1, 7]})
    with pytest.raises(FrfwError, match="same holds 7; need 0 and 1"):
        load_pairs(tmp_path / "kinds.npz")
