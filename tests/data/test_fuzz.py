"""Damaged files of every kind: a clear error or a bad image, never a crash, hang or stray file."""

from __future__ import annotations

import importlib.util
import warnings
from pathlib import Path

import numpy as np
import pytest

from frfw.errors import FrfwError

_SPEC = importlib.util.spec_from_file_location(
    "fuzz_targets", Path(__file__).with_name("fuzz_targets.py")
)
_MODULE = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(_MODULE)
TARGETS = _MODULE.TARGETS

WORDS = [
    b"",
    b"\0",
    b"\n",
    b",",
    b"\t",
    b" ",
    b'"',
    b"../",
    b"/etc/passwd",
    b"nan",
    b"1e999",
    b"-1",
]
WORDS += [b"9" * 30, b"\xff\xfe", b"\xef\xbb\xbf", b"{", b"}", b"[" * 2000, b"null", b"true", b"0"]


def damage(data: bytes, rng: np.random.Generator) -> bytes:
    """Flip bits, cut, repeat, overwrite with zeros, or put in a word that parsers trip over."""
    out = bytearray(data)
    for _ in range(rng.integers(1, 4)):
        at, kind = int(rng.integers(0, len(out) + 1)), rng.integers(0, 8)
        span = int(rng.integers(1, 40))
        if kind < 3 and at < len(out):
            out[at] ^= 1 << int(rng.integers(0, 8))
        elif kind == 3 and at < len(out):
            out[at] = int(rng.integers(0, 256))
        elif kind == 4:
            del out[at : at + span]
        elif kind == 5:
            out[at : at + span] = bytes(len(out[at : at + span]))
        elif kind == 6:
            out[at:at] = out[at : at + span]
        else:
            out[at : at + int(rng.integers(0, 4))] = WORDS[rng.integers(0, len(WORDS))]
    return bytes(out[: int(rng.integers(0, len(out) + 1))] if rng.random() < 0.05 else out)


def run(target: str, root: Path, seeds: range) -> None:
    """Use the target's file damaged in many ways; on failure the file stays as it was."""
    path, use = TARGETS[target](root)
    use()
    whole, files = path.read_bytes(), sorted(root.rglob("*"))
    refused = 0
    for seed in seeds:
        path.write_bytes(damage(whole, np.random.default_rng([seed, len(target)])))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                use()
            except FrfwError as error:
                refused += 1
                assert str(error).strip(), "an error without words"
            except BaseException:
                print(f"damaged with seed {seed}: {path}")
                raise
        assert sorted(root.rglob("*")) == files, f"seed {seed}: files came or went"
    path.write_bytes(whole)
    use()
    print(f"{target}: {refused} of {len(seeds)} refused")


@pytest.mark.parametrize("target", TARGETS)
def test_damaged_files(target, tmp_path):
    run(target, tmp_path, range(60))


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("target", TARGETS)
def test_damaged_files_at_length(target, tmp_path):
    run(target, tmp_path, range(1000, 1300))
