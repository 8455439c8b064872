"""A warning where evaluation crops were made another way than the network's."""

from __future__ import annotations

import json

from frfw.data import Preprocessing
from frfw.data.alignment import Alignment
from frfw.data.manifest import state_pack
from frfw.evaluation.statement import disagreements

MODEL = Preprocessing(alignment=Alignment(landmarks="yunet").to_dict())
OTHER = Preprocessing(alignment=Alignment(landmarks="yunet", border="edge").to_dict())


def test_folders_and_packs_disagree_by_their_manifests(tmp_path):
    pack = tmp_path / "packs" / "lfw.bin"
    pack.parent.mkdir()
    pack.write_bytes(b"")
    folder = tmp_path / "cfp"
    folder.mkdir()
    sets = {"lfw": {"path": str(pack)}, "cfp": str(folder), "gone": {"path": "nowhere"}}
    assert disagreements(MODEL, sets) == []  # nothing is stated

    (folder / "manifest.json").write_text(json.dumps({"preprocessing": OTHER.to_dict()}))
    state_pack(pack, OTHER)
    lines = disagreements(MODEL, sets)
    assert [line.split()[0] for line in lines] == ["lfw", "cfp"]
    assert all("alignment.border: black against edge" in line for line in lines)
    assert disagreements(OTHER, sets) == []
    assert disagreements(Preprocessing(), sets) == []
    state_pack(pack, None)
    assert len(disagreements(MODEL, sets)) == 1


def test_training_images_beside_a_pack_say_nothing_of_it(tmp_path):
    (tmp_path / "lfw.bin").write_bytes(b"")
    entries = {"preprocessing": OTHER.to_dict()}
    (tmp_path / "manifest.json").write_text(json.dumps(entries))
    assert disagreements(MODEL, {"lfw": tmp_path / "lfw.bin"}) == []
    (tmp_path / "manifest.json").write_text(json.dumps({**entries, "synthetic": {}}))
    assert len(disagreements(MODEL, {"lfw": tmp_path / "lfw.bin"})) == 1
