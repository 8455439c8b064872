"""Patches: what is none is said to be none, and names of any bytes survive."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from frfw.data import open_source
from frfw.data.clean import Findings, write_patch
from frfw.data.subcenters import write_identities
from frfw.errors import FrfwError

HEAD = "action,image,identity,into,fingerprint,reason\n"


@pytest.fixture
def faces(make_folder):
    return open_source(make_folder([2, 2, 2]))


def apply(faces, path, text=None):
    if text is not None:
        path.write_text(text, encoding="utf-8")
    return open_source({"path": faces.root, "patch": str(path)})


@pytest.mark.parametrize(
    "text",
    ["", "\n", "hello\n", "path,identity\na.jpg,1\n", "drop_image,1,,,0123,\n",
     HEAD.replace("image,", "image,image,")],
)  # fmt: skip
def test_what_is_no_patch(faces, tmp_path, text):
    with pytest.raises(FrfwError, match=r"p\.csv is no patch: its first line should name"):
        apply(faces, tmp_path / "p.csv", text)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("drop_image,²,,,{mark},", "line 5: '²' is no image number from 0 to 5"),
        ("drop_image,-1,,,{mark},", "line 5: '-1' is no image number"),
        ("drop_image," + "9" * 5000 + ",,,{mark},", "line 5: '9{40}' is no image number"),
        ("drop_image,1", "line 5: 2 columns, and the first line 6"),
        ("drop_image,1,,,{mark},a,b", "line 5: 7 columns"),
        ("drop_image,1,,,0123,", "line 5: the patch was made for another data set"),
        ("merge_identity,,id000,,{mark},", "line 5: '' is no identity"),
    ],
)
def test_wrong_rows_are_named_by_their_lines(faces, tmp_path, row, message):
    """A blank line and a reason of two lines count."""
    first = f'\ndrop_image,0,,,{faces.fingerprint},"a\nb"\n'
    with pytest.raises(FrfwError, match=r"p\.csv, " + message):
        apply(faces, tmp_path / "p.csv", HEAD + first + row.format(mark=faces.fingerprint) + "\n")


def test_a_patch_of_no_rows_and_one_without_reasons(faces, tmp_path):
    assert len(apply(faces, tmp_path / "p.csv", HEAD)) == 6
    short = f"action,image,identity,into,fingerprint\ndrop_image,1,,,{faces.fingerprint}\n"
    assert len(apply(faces, tmp_path / "p.csv", short)) == 5
    with pytest.raises(FrfwError, match=r"q\.csv is missing"):
        apply(faces, tmp_path / "q.csv")


def test_names_that_are_not_utf8(make_folder, tmp_path):
    """Folders of another encoding: `clean` failed in the end, after all the embedding."""
    root = make_folder([2, 2, 2])
    os.rename(root / "id001", os.fsencode(root) + b"/caf\xe9")
    faces = open_source(root)
    found = Findings(merges=[(0, 1, 0.9)], crossing=[(2, 1, 0.99)], overlaps=[(2, 0.8, 0)])
    assert write_patch(faces, found, tmp_path / "p.csv") == 3
    assert b"caf\xe9" in (tmp_path / "p.csv").read_bytes()
    patched = apply(faces, tmp_path / "p.csv")
    assert len(patched) == 3
    assert patched.num_classes == 1
    report = SimpleNamespace(
        counts=torch.ones(3, 2, dtype=torch.long),
        dominant=torch.zeros(3),
        spread=torch.zeros(3),
        noisy=torch.zeros(6, dtype=torch.bool),
    )
    write_identities(report, faces, tmp_path / "subcenters.csv")
    assert b"caf\xe9,2," in (tmp_path / "subcenters.csv").read_bytes()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=80))
def test_any_text_is_a_patch_or_an_error(faces, tmp_path, text):
    for candidate in (text, HEAD + text):
        try:
            apply(faces, tmp_path / "p.csv", candidate)
        except FrfwError as error:
            assert "p.csv" in str(error)
