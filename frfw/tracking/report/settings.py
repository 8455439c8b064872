"""Runs that differ only in their seed are one setting; settings are what a comparison compares."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from frfw.errors import FrfwError
from frfw.tracking.config_keys import counts, flatten
from frfw.tracking.report.facts import plain
from frfw.tracking.runs import Run, is_run, load_run

_LONGEST = 3  # keys in a label; beyond, a run's own name says more


@dataclass
class Setting:
    """Runs with the same config but for the seed.

    Attributes:
        keys: the keys in which settings differ, with this setting's values.
        runs: all of them, also those that came to nothing.
    """

    keys: dict[str, Any]
    runs: list[Run]

    @property
    def label(self) -> str:
        """Name it by its values; a single run that differs in many keys by its own name."""
        if len(self.runs) == 1 and not 0 < len(self.keys) <= _LONGEST:
            return self.runs[0].name
        return label(self.keys) or "all runs"

    @property
    def good(self) -> list[Run]:
        """The runs that came to their end: only these count in means and tests."""
        return [r for r in self.runs if r.status == "finished"]

    @property
    def lost(self) -> list[Run]:
        """The runs that a cross marks."""
        return [r for r in self.runs if r.status in ("diverged", "failed")]

    def accuracies(self, name: str) -> np.ndarray:
        """Return what every run that came to its end scored on a set (`Run.score`)."""
        found = [run.score(name) for run in self.good]
        return np.array([a for a in found if a is not None])


def find_runs(paths: list[str | Path]) -> list[Run]:
    """Load the run folders among `paths`, and those that lie in the other folders.

    Raises:
        FrfwError: a path is no folder, or neither a run nor a folder of runs.
    """
    folders: list[Path] = []
    for path in map(Path, paths):
        if not path.is_dir():
            raise FrfwError(f"{path}: no such folder; give a run folder or a sweep folder")
        inner = [path] if is_run(path) else sorted(p for p in path.iterdir() if is_run(p))
        if not inner:
            raise FrfwError(
                f"{path}: neither a run folder nor a folder of runs (no config.yaml, metrics.jsonl "
                "or result.json in it or in its folders)"
            )
        folders += inner
    return [load_run(folder) for folder in dict.fromkeys(f.resolve() for f in folders)]


def settings(runs: list[Run]) -> list[Setting]:
    """Put runs together that differ only in their seed, in the order of their values."""
    flat = [flatten(run.config) for run in runs]
    keys = differing(flat)
    groups: dict[tuple, Setting] = {}
    for run, values in zip(runs, flat):
        own = {key: values[key] for key in keys if key in values}
        found = groups.setdefault(tuple((k, repr(v)) for k, v in own.items()), Setting(own, []))
        found.runs.append(run)
    return sorted(groups.values(), key=_order)


def differing(flat: list[dict[str, Any]]) -> list[str]:
    """Return the keys of which the runs that have them do not all have the same value."""
    keys = dict.fromkeys(key for values in flat for key in values)
    return [
        key
        for key in keys
        if counts(key) and len({repr(values[key]) for values in flat if key in values}) > 1
    ]


def label(keys: dict[str, Any]) -> str:
    """Write values shortly, names first: `arcface, m 0.5`."""
    parts = []
    for key, setting in sorted(keys.items(), key=lambda item: not item[0].endswith(".name")):
        short = key.split(".")[-1]
        value = f"{setting:.4g}" if isinstance(setting, float) else plain(setting)
        parts.append(value if short == "name" else f"{short} {value}")
    return ", ".join(parts)


def numeric_keys(compared: list[Setting]) -> list[str]:
    """Return the keys with at least two different numbers, to be drawn along an axis."""
    keys = dict.fromkeys(key for setting in compared for key in setting.keys)
    return [
        key for key in keys if len({v for s in compared if is_number(v := s.keys.get(key))}) > 1
    ]


def is_number(setting: Any) -> bool:
    """Say whether a config value can stand on an axis."""
    return isinstance(setting, int | float) and not isinstance(setting, bool)


def _order(setting: Setting) -> tuple:
    return tuple(
        (key, 0, v, "") if is_number(v) else (key, 1, 0, str(v)) for key, v in setting.keys.items()
    )
