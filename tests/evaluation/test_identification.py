"""CMC and TPIR at FPIR against cases worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from frfw.errors import FrfwError
from frfw.evaluation.identification import identify
from frfw.evaluation.people import read_people


def at_angles(*degrees):
    """Unit vectors in the plane: the cosine of two is that of the angle between them."""
    radians = np.deg2rad(degrees)
    return np.stack([np.cos(radians), np.sin(radians)], axis=1)


# Gallery: a at 0 and 10 degrees, b at 60, c at 120. Probes:
#   a at 15: own best entry 5 away                    -> rank 1, score cos 5
#   b at 25: a's nearest entry 15 away, b 35          -> rank 2, score cos 35
#   c at 70: b 10, c 50, a 60                         -> rank 2, score cos 50
#   x at 150 (not enrolled): c 30; y at 200: c 80; z at 62: b 2; w at 300: a 60
GALLERY = at_angles(0, 60, 120, 10), ["a", "b", "c", "a"]
PROBES = at_angles(15, 25, 70, 150, 200, 62, 300), ["a", "b", "c", "x", "y", "z", "w"]


def test_closed_set_by_hand():
    result = identify(*GALLERY, *PROBES)
    assert (result.identities, result.entries, result.mated, result.nonmated) == (3, 4, 3, 4)
    assert result.cmc == pytest.approx([1 / 3, 1, 1])
    assert result.rank_rate(1) == pytest.approx(1 / 3)
    assert result.rank_rate(99) == 1


def test_open_set_by_hand():
    # Nonmated tops: cos 2 > cos 30 > cos 60 > cos 80. Mates: cos 5, cos 35, cos 50.
    result = identify(*GALLERY, *PROBES, fpir_targets=(0.75, 0.5, 0.25, 0.2, 0.01))
    tpir = result.tpir_at_fpir
    assert tpir[0.75] == 1  # three may pass: anything above cos 80
    assert tpir[0.5] == 1  # two may pass: above cos 60
    assert tpir[0.25] == pytest.approx(1 / 3)  # one may pass: above cos 30
    assert tpir[0.2] == 0  # none may pass: above cos 2
    assert tpir[0.01] is None
    assert "nonmated probes are too few for FPIR 0.01" in result.operating_points[-1].note
    point = result.operating_points[2]
    assert point.far == 0.25
    assert np.cos(np.deg2rad(30)) < point.threshold < np.cos(np.deg2rad(4))


def test_rank_limits_tpir():
    result = identify(*GALLERY, *PROBES, fpir_targets=(0.5,), rank=1)
    assert result.tpir_at_fpir[0.5] == pytest.approx(1 / 3)


def test_ties_count_against():
    result = identify(at_angles(0, 20), ["a", "b"], at_angles(10), ["a"])
    assert result.cmc == pytest.approx([0, 1])
    assert result.tpir_at_fpir[0.1] is None
    assert "no nonmated probes" in result.operating_points[0].note


def test_bad_input_is_named():
    gallery, names = GALLERY
    broken = gallery.copy()
    broken[2] = np.nan
    with pytest.raises(FrfwError, match="gallery embedding 2 is zero or not numbers"):
        identify(broken, names, *PROBES)
    with pytest.raises(FrfwError, match="need"):
        identify(gallery, names[:2], *PROBES)


def test_people_from_folder_and_list(people):
    files, names = read_people(people)
    assert len(files) == 48
    assert names[0] == "p00"
    (people / "list.csv").write_text("path,identity\np00/p00_0001.png,zero\n")
    files, names = read_people(people / "list.csv")
    assert names == ["zero"]
    (people / "list.csv").write_text("path,identity\np00/none.png,zero\n")
    with pytest.raises(FrfwError, match=r"images are missing: .*none.png"):
        read_people(people / "list.csv")
    with pytest.raises(FrfwError, match="one sub-folder an identity"):
        read_people(people / "p00")


@pytest.mark.parametrize("option", [{"fpir_targets": [0]}, {"fpir_targets": [1.5]}, {"rank": 0}])
def test_rates_and_ranks_that_cannot_be(option):
    with pytest.raises(FrfwError, match=r"identification: (fpir|rank)=(0|1\.5): give a"):
        identify(*GALLERY, *PROBES, **option)
    with pytest.raises(FrfwError, match="rank=0: give a whole number from 1 on"):
        identify(*GALLERY, *PROBES).rank_rate(0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,identity\n{0},zero\n{1}\n", "line 3: identity is empty"),
        ("path,identity\n\n,zero\n", "line 3: path is empty"),
        ("path,identiti\n{0},zero\n", "no column 'identity'; .*Did you mean 'identiti'"),
        ("path,identity\n{0},zero,x\n", "line 2: 3 cells for 2 columns"),
        ("path,path\n", "the column 'path' is there twice"),
        ("path,identity\n{0},zero\n{1},one\n{0},zero\n", "line 4 is line 2 again"),
        (
            "path,identity\n{0},zero\n{0},one\n",
            "line 3 says that .* is one, line 2 that it is zero",
        ),
    ],
)
def test_bad_lists_of_people(people, text, message):
    path = people / "list.csv"
    path.write_text(text.format("p00/p00_0001.png", "p00/p00_0002.png"))
    with pytest.raises(FrfwError, match=rf"list\.csv.*{message}"):
        read_people(path)


def test_spaces_and_duplicates_that_are_wanted(people):
    path = people / "list.csv"
    path.write_text(" path , identity\np00/p00_0001.png , zero\n\np00/p00_0001.png,zero\n")
    files, names = read_people(path, allow_duplicates=True)
    assert files == [people / "p00" / "p00_0001.png"] * 2
    assert names == ["zero", "zero"]


def test_a_link_to_an_image_is_that_image(people):
    (people / "p01" / "copy.png").symlink_to(people / "p00" / "p00_0001.png")
    with pytest.raises(FrfwError, match=r"copy\.png says that .* is p01, .* that it is p00"):
        read_people(people)
