"""`.bin` packs of Python 2 and 3; nothing in a hostile one is executed."""

from __future__ import annotations

import os
import pickle
import pickletools
import struct
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frfw.data.decode import decode, encode
from frfw.data.safe_pickle import load
from frfw.data.verification_pack import read_pack, write_pack
from frfw.errors import FrfwError


def images(count):
    return [encode(np.full((8, 8, 3), 20 * i, np.uint8)) for i in range(count)]


def test_python2_and_python3_packs_agree(reference):
    two = read_pack(reference / "verification_python2.bin")
    three = read_pack(reference / "verification_python3.bin")
    assert two.images == three.images
    assert len(two.images) == 80
    np.testing.assert_array_equal(two.same, three.same)
    assert two.same.sum() == 20
    assert decode(two.images[5]).shape == (112, 112, 3)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("kind", ["bytes", "arrays", "flag array"])
def test_every_protocol_and_array_form(tmp_path, protocol, kind):
    data, same = images(6), [True, False, True]
    content = [np.frombuffer(d, np.uint8) for d in data] if kind == "arrays" else data
    flags = np.array(same) if kind == "flag array" else same
    path = tmp_path / "x.bin"
    path.write_bytes(pickle.dumps((content, flags), protocol=protocol))
    pack = read_pack(path)
    assert pack.images == data
    assert pack.same.tolist() == same


def test_object_array_and_numpy_bools(tmp_path):
    data = images(2)
    array = np.empty(2, object)
    array[:] = data
    path = tmp_path / "x.bin"
    path.write_bytes(pickle.dumps([array, [np.bool_(True)]]))
    assert read_pack(path).images == data


def test_round_trip_and_standard_unpickler(tmp_path):
    data = images(4)
    write_pack(tmp_path / "x.bin", data, [True, False])
    assert read_pack(tmp_path / "x.bin").images == data
    with open(tmp_path / "x.bin", "rb") as file:  # as insightface reads it
        assert pickle.load(file, encoding="bytes") == (data, [True, False])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x.bin"]


def test_odd_number_of_images(tmp_path):
    path = tmp_path / "x.bin"
    path.write_bytes(pickle.dumps((images(3), [True])))
    with pytest.raises(FrfwError, match="3 images, an odd number"):
        read_pack(path)


@pytest.mark.parametrize(
    "value",
    [(), ([], []), 5, None, ([b"x"] * 4, [True]), ([b"x", 1], [True]), ([b"x", b"y"], ["no"])],
)
def test_not_a_pack(tmp_path, value):
    path = tmp_path / "x.bin"
    path.write_bytes(pickle.dumps(value))
    with pytest.raises(FrfwError, match=r"x\.bin"):
        read_pack(path)


class Evil:
    def __init__(self, function, *args):
        self.call = (function, args)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_malicious_pickle_is_refused_unexecuted(tmp_path, protocol):
    witness = tmp_path / "executed"
    for evil in (
        Evil(os.system, f"touch {witness}"),
        Evil(eval, f"open({str(witness)!r}, 'w')"),
        Evil(getattr, "x", "upper"),
        Evil(np.fromfile, str(witness)),
    ):
        path = tmp_path / "x.bin"
        path.write_bytes(pickle.dumps(([evil, b"x"], [True]), protocol=protocol))
        with pytest.raises(FrfwError, match="refused, it asks for"):
            read_pack(path)
    assert not witness.exists()


@pytest.mark.parametrize(
    "raw",
    [
        b"(S'rm -rf x'\nios\nsystem\n.",  # INST
        b"\x80\x02cos\nsystem\n.",
        b"\x80\x02(cnumpy\ndtype\nX\x02\x00\x00\x00u1o.",  # OBJ
        b"\x80\x04P0\n.",  # persistent id
        b"\x80\x02\x82\x01.",  # extension registry
        b"\x80\x02]" + b"q\x00h\x00a" * 3 + b".",  # a list that holds itself
        b"\x80\x02K\x01r\xff\xff\xff\xff.",  # a giant memo slot
        b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.",  # 2^63 bytes announced
        b"",
        b".",
        b"hello",
    ],
)
def test_hostile_bytes(raw, tmp_path):
    path = tmp_path / "x.bin"
    path.write_bytes(raw)
    with pytest.raises(FrfwError, match=r"x\.bin"):
        read_pack(path)


@settings(max_examples=300)
@given(st.binary(max_size=120))
def test_random_bytes_never_crash(data):
    for candidate in (data, b"\x80\x04" + data + b"."):
        try:
            load(candidate, "x")
        except FrfwError as error:
            assert "x" in str(error)


_SMALL = pickle.dumps(([b"abc", np.arange(3, dtype=np.uint8)] * 2, np.array([True, False])))


@settings(max_examples=300)
@given(st.data())
def test_damaged_pickles_never_crash(data):
    """Flip bytes and cut a real pickle that has arrays, dtypes and calls in it."""
    content = bytearray(_SMALL)
    for _ in range(data.draw(st.integers(1, 5))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(1, len(content)))]
    try:
        load(bytes(content), "x")
    except FrfwError:
        pass


@settings(max_examples=200)
@given(st.lists(st.sampled_from([op.code for op in pickletools.opcodes]), max_size=30))
def test_any_instructions_never_crash(codes):
    data = b"".join(c.encode("latin-1") for c in codes) + b"."
    try:
        load(data, "x")
    except FrfwError:
        pass


def test_a_list_of_lists_of_the_same_list_does_not_hang(tmp_path):
    """400 references five deep: a few kilobytes that written out would be 10^13 items."""
    value = [0]
    for _ in range(5):
        value = [value] * 400
    (tmp_path / "bomb.bin").write_bytes(pickle.dumps((value, [True]), protocol=2))
    with pytest.raises(FrfwError):
        read_pack(tmp_path / "bomb.bin")


def memory_of(call):
    """The result and the most bytes that Python and NumPy held at a time while it was made."""
    tracemalloc.start()
    try:
        return call(), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_an_array_that_occurs_again_is_copied_once(tmp_path):
    """A megabyte that 200 pairs share would be 400 MB."""
    content = ([np.zeros(1 << 20, np.uint8)] * 400, [True] * 200)
    (tmp_path / "x.bin").write_bytes(pickle.dumps(content, protocol=2))
    pack, most = memory_of(lambda: read_pack(tmp_path / "x.bin"))
    assert len(pack.images) == 400
    assert len(pack.images[399]) == 1 << 20
    assert most < 20 << 20


def stack(*parts):
    """A pickle of protocol 4 that holds these instructions."""
    return b"\x80\x04" + b"".join(parts) + b"."


def test_arrays_that_share_their_bytes_do_not_fill_the_memory(tmp_path):
    """Each is another array to Python, of the same megabyte."""
    name = b"cnumpy.core.numeric\n_frombuffer\nq\x01"
    kind = b"cnumpy\ndtype\n\x8c\x02u1\x85Rq\x02"
    data = b"B" + struct.pack("<I", 1 << 20) + bytes(1 << 20) + b"q\x03"
    shape = b"J" + struct.pack("<I", 1 << 20) + b"\x85q\x04"
    one = b"h\x01(h\x03h\x02h\x04\x8c\x01CtR"
    arrays = stack(name, kind, data, shape, b"](", one * 400, b"e](", b"\x88" * 200, b"e\x86")
    (tmp_path / "x.bin").write_bytes(arrays)
    assert len(load(arrays, "x")[0]) == 400

    def refused():
        with pytest.raises(FrfwError, match=r"x\.bin holds more bytes of images than it has"):
            read_pack(tmp_path / "x.bin")

    assert memory_of(refused)[1] < 20 << 20


def test_text_that_is_encoded_again_and_again_does_not_fill_the_memory():
    text = b"X" + struct.pack("<I", 1 << 20) + b"a" * (1 << 20) + b"q\x01"
    name = b"c_codecs\nencode\nq\x02"
    once = b"h\x02h\x01\x8c\x06latin1\x86R"
    assert load(stack(text, name, b"](", once, b"e"), "x") == [b"a" * (1 << 20)]

    def refused():
        with pytest.raises(FrfwError, match="more bytes than it holds"):
            load(stack(text, name, b"](", once * 400, b"e"), "x")

    assert memory_of(refused)[1] < 20 << 20


def nested_tuples():
    """Instructions for a tuple of tuples of ... of the same tuple: written out, 2^60 items."""
    return b")q\x00" + b"".join(
        b"h" + bytes([at]) + b"h" + bytes([at]) + b"\x86q" + bytes([at + 1]) for at in range(60)
    )


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "rest",
    [
        b"\x8c\x01x\x93",  # as the module of a name
        b"cnumpy\ndtype\nh\x3c\x85R",  # as the type of an array
        b"cnumpy\ndtype\n\x8c\x02u1\x85RNh\x3c\x86b",  # as its byte order
    ],
)
def test_tuples_in_tuples_are_not_written_out(rest):
    with pytest.raises(FrfwError):
        load(stack(nested_tuples(), rest), "x")


def test_any_number_of_rows_of_nothing(tmp_path):
    content = (np.zeros((10**12, 0), np.uint8), [True])
    (tmp_path / "x.bin").write_bytes(pickle.dumps(content))
    with pytest.raises(FrfwError, match="rows are empty"):
        read_pack(tmp_path / "x.bin")
