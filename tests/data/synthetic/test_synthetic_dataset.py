"""The data set on disk: layout, determinism, being complete or not there, the command."""

import json
import struct
import subprocess
import sys

import numpy as np
import pytest

from frfw.data import open_source, read_pack
from frfw.data.synthetic import Difficulty, Parameters, write_dataset
from frfw.data.synthetic.sets import FOLDS, SET_NAMES, plan_pairs
from frfw.data.synthetic.workers import draw_jpegs
from frfw.errors import FrfwError

SMALL = Parameters(identities=3, images_per_identity=4, size=48, seed=7, pairs=20, sets=("lfw",))


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    out = tmp_path_factory.mktemp("synthetic") / "set"
    assert write_dataset(out, SMALL, workers=1)
    return out


def test_training_set_reads_back(drawn):
    source = open_source(drawn)
    assert len(source) == 12
    assert source.num_classes == 3
    np.testing.assert_array_equal(source.labels, np.repeat([0, 1, 2], 4))
    assert source[5].shape == (48, 48, 3)
    assert (drawn / "property").read_text().strip() == "3,48,48"


def test_header_record_has_the_insightface_layout(drawn):
    offsets = dict(line.split("\t") for line in (drawn / "train.idx").read_text().splitlines())
    raw = (drawn / "train.rec").read_bytes()
    flag, _, key, _ = struct.unpack_from("<IfQQ", raw, int(offsets["0"]) + 8)
    assert (flag, key) == (2, 0)
    assert struct.unpack_from("<2f", raw, int(offsets["0"]) + 8 + 24) == (13.0, 16.0)
    flag, _, key, _ = struct.unpack_from("<IfQQ", raw, int(offsets["14"]) + 8)
    assert (flag, key) == (2, 14)  # the second identity: images 5 to 8
    assert struct.unpack_from("<2f", raw, int(offsets["14"]) + 8 + 24) == (5.0, 9.0)


def test_pack_has_ten_folds_of_same_then_different(drawn):
    pack = read_pack(drawn / "lfw.bin")
    assert len(pack.images) == 40
    np.testing.assert_array_equal(pack.same, np.tile([True, False], 10))
    assert all(image.startswith(b"\xff\xd8") for image in pack.images)


@pytest.mark.parametrize("name", SET_NAMES)
@pytest.mark.parametrize("pairs", [20, 100, 600])
def test_pairs(name, pairs):
    plan = plan_pairs(name, Parameters(pairs=pairs))
    who = plan.pairs[:, :, 0]
    assert len(plan.same) == pairs
    np.testing.assert_array_equal(who[:, 0] == who[:, 1], plan.same)
    folds = [set(fold.ravel()) for fold in np.split(who, FOLDS)]
    for k, fold in enumerate(folds):  # no person in two folds
        assert not fold & set().union(*folds[:k])
    numbers = [person.number for person in plan.people]
    assert min(numbers) >= 10**9  # training identities lie below
    same = plan.pairs[plan.same]
    assert (same[:, 0, 1] != same[:, 1, 1]).all()
    assert len({tuple(map(tuple, pair)) for pair in same.tolist()}) == len(same)
    shown = {tuple(plan.people[w].pictures[t][1] for w, t in pair) for pair in plan.pairs}
    assert shown == {{"lfw": ("mild", "mild"), "cfp_fp": ("frontal", "profile"),
                      "agedb_30": ("young", "old")}[name]}  # fmt: skip


@pytest.mark.slow  # a fresh process imports everything once more
def test_workers_do_not_matter(drawn, tmp_path):
    write_dataset(tmp_path / "set", SMALL, workers=3)
    for name in ("train.rec", "train.idx", "lfw.bin", "manifest.json", "contact_sheet.png"):
        assert (tmp_path / "set" / name).read_bytes() == (drawn / name).read_bytes(), name


def test_more_training_identities_leave_the_others_as_they_are(drawn):
    jpegs = draw_jpegs(plan_pairs("lfw", SMALL).people[0], SMALL)
    assert jpegs[0] == read_pack(drawn / "lfw.bin").images[0]


def test_manifest_states_parameters_and_hashes(drawn):
    entries = json.loads((drawn / "manifest.json").read_text())["synthetic"]
    assert entries["parameters"] == SMALL.to_dict()
    assert entries["training_images"] == 12
    assert set(entries["sha256"]) == {"train.rec", "train.idx", "lfw.bin"}


def test_same_parameters_are_up_to_date_others_need_overwrite(tmp_path):
    out, tiny = tmp_path / "set", Parameters(2, 1, 32, sets=())
    assert write_dataset(out, tiny, workers=1)
    assert not write_dataset(out, tiny, workers=1)
    other = Parameters(3, 1, 32, sets=())
    with pytest.raises(FrfwError, match=r"identities: 2 there, 3 asked.*overwrite=true"):
        write_dataset(out, other, workers=1)
    assert write_dataset(out, other, workers=1, overwrite=True)
    assert len(open_source(out)) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_a_strange_folder_is_never_replaced(tmp_path):
    (tmp_path / "keep.txt").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(FrfwError, match="no complete synthetic data set"):
            write_dataset(tmp_path, SMALL, overwrite=overwrite)
    assert (tmp_path / "keep.txt").read_text() == "mine"


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_interrupted_drawing_leaves_nothing(tmp_path, workers):
    def stop(part, done, total):
        if done >= 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_dataset(tmp_path / "set", SMALL, workers=workers, report=stop)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"identities": 0}, "identities=0"),
        ({"pairs": 30}, "multiple of 20"),
        ({"size": 4}, "size=4"),
        ({"sets": ("lwf",)}, "Did you mean 'lfw'"),
        ({"difficulty": Difficulty(light=-1)}, "difficulty.light=-1"),
    ],
)
def test_bad_parameters(values, message):
    with pytest.raises(FrfwError, match=message):
        Parameters(**values)


def command(*arguments):
    line = [sys.executable, "-m", "frfw.synthesize", *arguments]
    return subprocess.run(line, capture_output=True, text=True, timeout=250)


def test_command(drawn, tmp_path):
    keys = [f"out={tmp_path / 'set'}", "identities=3", "images_per_identity=4", "size=48", "seed=7"]
    done = command(*keys, "pairs=20", "sets=[lfw]", "workers=2")
    assert done.returncode == 0, done.stderr
    assert "12 training images of 3 identities" in done.stdout
    assert "92 of 92 images" in done.stderr  # a plain line every tenth where there is no terminal
    assert (tmp_path / "set" / "train.rec").read_bytes() == (drawn / "train.rec").read_bytes()
    wrong = command("identites=3")
    assert wrong.returncode == 1
    assert "identities" in wrong.stderr
    assert "Traceback" not in wrong.stderr
