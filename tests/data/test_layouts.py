"""The published layouts of verification sets."""

from __future__ import annotations

import pytest

from frfw.data.layouts import read_cfp, read_layout, read_lfw
from frfw.errors import FrfwError


def touch(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


@pytest.fixture
def lfw(tmp_path):
    touch(tmp_path, *(f"img/{n}/{n}_{i:04d}.jpg" for n in ("Al_B", "Cy_D") for i in (1, 2, 10)))
    (tmp_path / "pairs.txt").write_text(
        "2\t1\nAl_B\t1\t10\nAl_B\t2\tCy_D\t1\nCy_D\t1\t2\nCy_D\t10\tAl_B\t1\n"
    )
    return tmp_path


def test_lfw(lfw):
    for images in (lfw, lfw / "img"):
        pairs = read_lfw(images)
        assert pairs.same.tolist() == [True, False, True, False]
        assert pairs.fold.tolist() == [0, 0, 1, 1]
        names = [[pairs.paths[i].name for i in row] for row in pairs.pairs]
        assert names[0] == ["Al_B_0001.jpg", "Al_B_0010.jpg"]
        assert names[3] == ["Cy_D_0010.jpg", "Al_B_0001.jpg"]
        assert len(pairs.paths) == 6  # each file once
    assert read_layout("auto", lfw).name == "lfw"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("2\t1\nAl_B\t1\t2\n", "has 1"),
        ("1\t1\nAl_B\t1\nAl_B\t1\tCy_D\t1\n", "line 2: a same pair"),
        ("1\t1\nAl_B\t1\t2\nAl_B\t1\tCy_D\tx\n", "line 3: 'x' is no number"),
        ("1\t1\nAl_B\t1\t3\nAl_B\t1\tCy_D\t1\n", "missing.*Al_B_0003"),
        ("1\t1\n../Al_B\t1\t3\nAl_B\t1\tCy_D\t1\n", "is no name"),
        ("hello world again\n", "line 1"),
        ("", "line 1"),
    ],
)
def test_lfw_bad_protocols(lfw, text, message):
    (lfw / "pairs.txt").write_text(text)
    with pytest.raises(FrfwError, match=message):
        read_lfw(lfw)


def test_lfw_without_some_images(lfw):
    (lfw / "img/Al_B/Al_B_0010.jpg").unlink()
    with pytest.raises(FrfwError, match=r"1 of 6 images are missing: .*0010.jpg; --skip-missing"):
        read_lfw(lfw)
    pairs = read_layout("auto", lfw, skip_missing=True)
    assert pairs.same.tolist() == [False, True, False]
    assert pairs.fold.tolist() == [0, 1, 1]  # as the protocol has them
    assert (pairs.skipped, pairs.missing, len(pairs.paths)) == (1, 1, 5)


@pytest.fixture
def cfp(tmp_path):
    lists = {"F": [], "P": []}
    for letter, kind, count in (("F", "frontal", 3), ("P", "profile", 2)):
        for person in ("001", "002"):
            for image in range(1, count + 1):
                name = f"Data/Images/{person}/{kind}/{image:02d}.jpg"
                touch(tmp_path, name)
                lists[letter].append(f"{len(lists[letter]) + 1} ../{name}")
        path = tmp_path / "Protocol" / f"Pair_list_{letter}.txt"
        path.parent.mkdir(exist_ok=True)
        path.write_text("\n".join(lists[letter]) + "\n")
    for protocol in ("FF", "FP"):
        for fold in ("01", "02"):
            folder = tmp_path / "Protocol" / "Split" / protocol / fold
            folder.mkdir(parents=True)
            (folder / "same.txt").write_text("1,2\n4,3\n")
            (folder / "diff.txt").write_text("1,4\n")
    return tmp_path


def test_cfp(cfp):
    mixed = read_cfp(cfp, "FP")
    assert mixed.same.tolist() == [True, True, False] * 2
    assert mixed.fold.tolist() == [0] * 3 + [1] * 3
    first = [str(mixed.paths[i].relative_to(cfp / "Data/Images")) for i in mixed.pairs[0]]
    assert first == ["001/frontal/01.jpg", "001/profile/02.jpg"]
    frontal = read_cfp(cfp, "ff")
    assert [frontal.paths[i].parent.name for i in frontal.pairs[0]] == ["frontal"] * 2
    assert read_layout("auto", cfp).name == "cfp_fp"
    assert read_cfp(cfp / "Data" / "Images").paths == mixed.paths
    with pytest.raises(FrfwError, match="has no Protocol: give the folder"):
        read_cfp(cfp / "Data" / "Images" / "001" / "frontal")


def test_cfp_bad(cfp):
    same = cfp / "Protocol/Split/FP/01/same.txt"
    for text, message in (("1,9\n", "image 9 is in no"), ("1\n", "line 1"), ("a,b\n", "no number")):
        same.write_text(text)
        with pytest.raises(FrfwError, match=message):
            read_cfp(cfp)
    (cfp / "Protocol/Pair_list_P.txt").write_text("1 ../../../../etc/passwd\n")
    with pytest.raises(FrfwError, match="leads out of"):
        read_cfp(cfp)
    with pytest.raises(FrfwError, match="FF and FP"):
        read_cfp(cfp, "PP")


@pytest.mark.parametrize("flags", [(1, 2, 0, 0), (1, 1, 0, 0)])
def test_two_line_list(tmp_path, flags):
    lines = []
    for at, flag in enumerate(flags):
        touch(tmp_path, f"a{at}.jpg", f"b{at}.jpg")
        lines += [f"a{at}.jpg {flag}", f"b{at}.jpg {flag}"]
    (tmp_path / "pairs_CALFW.txt").write_text("\n".join(lines))
    pairs = read_layout("auto", tmp_path)
    assert pairs.name == "calfw"
    assert pairs.same.tolist() == [True, True, False, False]
    assert pairs.fold.tolist() == ([0, 1, 0, 1] if flags[1] == 2 else [0, 5, 0, 5])
    (tmp_path / "pairs_CALFW.txt").write_text("a0.jpg 1\nb0.jpg 0\n")
    with pytest.raises(FrfwError, match="same flag"):
        read_layout("calfw", tmp_path)


def test_pair_csv(tmp_path):
    touch(tmp_path, "x/1.jpg", "x/2.jpg", "y/1.jpg")
    path = tmp_path / "mine.csv"
    path.write_text("a,b,same,fold,group\nx/1.jpg,x/2.jpg,1,0,old\nx/1.jpg,y/1.jpg,0,1,young\n")
    pairs = read_layout("csv", path)
    assert (pairs.name, pairs.fold.tolist()) == ("mine", [0, 1])
    assert pairs.group.tolist() == ["old", "young"]
    for text, message in (
        ("a,c\n1,2\n", "no column 'b'"),
        ("a,b,same\nx/1.jpg,../z.jpg,1\n", "leads out"),
        ("a,b,same\nx/1.jpg,x/2.jpg,maybe\n", "not 0 or 1"),
        ("a,b,same\nx/1.jpg,x/9.jpg,1\n", "missing"),
        ("a,b,same\n", "lists no pair"),
    ):
        path.write_text(text)
        with pytest.raises(FrfwError, match=message):
            read_layout("csv", path)


@pytest.mark.parametrize("given", ["", "aligned images"])
@pytest.mark.parametrize("layout", ["calfw", "cplfw"])
def test_calfw_and_cplfw_as_published(tmp_path, layout, given):
    """The list stands above the folder of the images; either of the two is given."""
    names = ["A_B_0001.jpg", "A_B_0003.jpg", "C_D_0002.jpg", "A_B_0001.jpg"]
    touch(tmp_path, *(f"aligned images/{name}" for name in names))
    lines = [f"{name} {flag}" for name, flag in zip(names, (1, 1, 0, 0))]
    (tmp_path / f"pairs_{layout.upper()}.txt").write_text("\n".join(lines) + "\n")
    pairs = read_layout("auto", tmp_path / given)
    assert (pairs.name, pairs.same.tolist(), pairs.skipped) == (layout, [True, False], 0)
    (tmp_path / "aligned images" / "C_D_0002.jpg").unlink()
    assert read_layout(layout, tmp_path / given, skip_missing=True).skipped == 1


def test_unknown_layout(tmp_path):
    with pytest.raises(FrfwError, match="Did you mean 'cfp_fp'"):
        read_layout("cfpfp", tmp_path)
    with pytest.raises(FrfwError, match="no layout that is recognised"):
        read_layout("auto", tmp_path)
