"""Reading a run folder back: config, environment, curves, evaluation."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from frfw.errors import FrfwError
from frfw.tracking.headline import headline

_FIRST_FILES = ("metrics.jsonl", "config.yaml", "result.json")


@dataclass
class Curve:
    """One named number over a run: optimizer steps (n,), values (n,), seconds since start (n,)."""

    steps: np.ndarray
    values: np.ndarray
    seconds: np.ndarray

    @property
    def last(self) -> float:
        return float(self.values[-1])

    def finite(self) -> Curve:
        """Drop NaN and infinite values."""
        keep = np.isfinite(self.values)
        return Curve(self.steps[keep], self.values[keep], self.seconds[keep])


@dataclass
class Run:
    """What a run folder holds. Whatever is missing there is empty here.

    Attributes:
        damaged: a line for every file of results that could not be read; they are empty here too.
    """

    folder: Path
    config: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)
    curves: dict[str, Curve] = field(default_factory=dict)
    evaluation: dict[str, dict[str, Any]] = field(default_factory=dict)
    protocols: dict[str, dict[str, Any]] = field(default_factory=dict)  # identification, templates
    robustness: dict[str, Any] | None = None
    result: dict[str, Any] = field(default_factory=dict)
    damaged: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.folder.name

    def key(self, dotted: str, default: Any = None) -> Any:
        """Return a config value by its dotted key, such as `loss.m`."""
        value: Any = self.config
        for part in dotted.split("."):
            if not isinstance(value, dict) or part not in value:
                return default
            value = value[part]
        return value

    @property
    def loss(self) -> str:
        loss = self.config.get("loss")
        return str(loss.get("name", "?") if isinstance(loss, dict) else loss or "?")

    @property
    def seed(self) -> Any:
        return self.config.get("seed")

    @property
    def status(self) -> str:
        """`finished`, `diverged`, `failed`, `stopped`; `unfinished` where the run did not say."""
        curve = self.curves.get("train/loss")
        if curve is not None and not math.isfinite(curve.last):
            return "diverged"
        return str(self.result.get("status") or "unfinished")

    def accuracy(self, name: str) -> float | None:
        """Return the final verification accuracy on a set, in 0..1, from where it is to be had."""
        saved = self.evaluation.get(name, {}).get("accuracy")
        if saved is None:
            saved = ((self.result.get("metrics") or {}).get(name) or {}).get("accuracy")
        curve = self.curves.get(f"val/{name}/accuracy")
        if saved is None and curve is not None:
            saved = curve.last
        return None if saved is None else float(saved)

    @property
    def sets(self) -> list[str]:
        """Names of the verification sets that the run was scored on."""
        logged = [n.split("/")[1] for n in self.curves
                  if n.startswith("val/") and n.endswith("/accuracy")]  # fmt: skip
        told = [n for n, f in (self.result.get("metrics") or {}).items() if "accuracy" in f]
        return list(dict.fromkeys([*logged, *told, *self.evaluation]))

    @property
    def headlines(self) -> dict[str, str]:
        """The figure that stands for each identification or template set, by the set's name."""
        figures: dict[str, dict[str, Any]] = {}
        for key in self.curves:
            if key.startswith("val/") and key.count("/") == 2:
                figures.setdefault(key.split("/")[1], {})[key.split("/")[2]] = None
        for name, own in (self.result.get("metrics") or {}).items():
            figures.setdefault(name, {}).update(own)
        for name, content in self.protocols.items():
            figures.setdefault(name, {}).update(content.get("figures") or {})
        found = {name: headline(own) for name, own in figures.items()}
        return {name: best for name, best in found.items() if best and best != "accuracy"}

    @property
    def protocol_sets(self) -> list[str]:
        """Names of the sets that are no pair lists."""
        return list(self.headlines)

    def score(self, name: str) -> float | None:
        """Return the figure that stands for a set: the accuracy of pairs, else its headline."""
        figure = self.headlines.get(name)
        if figure is None:
            return self.accuracy(name)
        saved = (self.protocols.get(name, {}).get("figures") or {}).get(figure)
        if saved is None:
            saved = ((self.result.get("metrics") or {}).get(name) or {}).get(figure)
        curve = self.curves.get(f"val/{name}/{figure}")
        if saved is None and curve is not None:
            saved = curve.last
        return None if saved is None else float(saved)


def is_run(folder: Path) -> bool:
    """Say whether a folder holds what a run writes first."""
    return any((folder / name).is_file() for name in _FIRST_FILES)


def load_run(folder: str | Path) -> Run:
    """Read a run folder.

    Raises:
        FrfwError: no such folder, or nothing in it that a run writes.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FrfwError(f"{folder}: no such folder; give a run folder such as runs/NAME")
    if not is_run(folder):
        raise FrfwError(
            f"{folder}: this is no run folder (no config.yaml, metrics.jsonl or result.json in it)"
        )
    damaged: list[str] = []
    evaluation, protocols, robustness = _read_evaluation(folder / "evaluation", damaged)
    return Run(
        folder=folder.resolve(),
        config=_read_config(folder / "config.yaml"),
        environment=_read_json(folder / "environment.json", damaged),
        curves=read_metrics(folder / "metrics.jsonl"),
        evaluation=evaluation,
        protocols=protocols,
        robustness=robustness,
        result=_read_json(folder / "result.json", damaged),
        damaged=damaged,
    )


def read_metrics(path: Path) -> dict[str, Curve]:
    """Read `metrics.jsonl` into curves by name, sorted by step.

    A step that was logged twice (a run resumed from before it) counts with its later value. A
    line that a killed run left half-written is passed over.
    """
    if not path.is_file():
        return {}
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    points: dict[str, dict[int, tuple[float, float]]] = {}
    for number, line in enumerate(lines, 1):
        record = _record(line)
        if record is None:
            continue
        step, seconds = int(record.pop("step")), float(record.pop("time", 0.0))
        for name, value in record.items():
            try:
                points.setdefault(name, {})[step] = (float(value), seconds)
            except (TypeError, ValueError):
                raise FrfwError(f"{path}, line {number}: '{name}' is no number") from None
    return {name: _curve(found) for name, found in points.items()}


def _record(line: str) -> dict[str, Any] | None:
    # Killed in mid-write, a run leaves half a line, and goes on with the next after resuming.
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) and "step" in record else None


def _curve(found: dict[int, tuple[float, float]]) -> Curve:
    steps = np.array(sorted(found), dtype=np.int64)
    both = np.array([found[int(s)] for s in steps], dtype=np.float64).reshape(-1, 2)
    return Curve(steps, both[:, 0], both[:, 1])


def _read_config(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise FrfwError(f"{path}: not readable as YAML ({error})") from error
    return loaded if isinstance(loaded, dict) else {}


def _read_json(path: Path, damaged: list[str]) -> dict[str, Any]:
    """Read an object; {} where there is none, which `damaged` is told if the file is there."""
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        damaged.append(f"{path}: not readable as JSON ({error})")
        return {}
    if not isinstance(content, dict):
        damaged.append(f"{path}: holds no object, but {type(content).__name__}")
        return {}
    return content


def _read_evaluation(
    folder: Path, damaged: list[str]
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any] | None]:
    """Read every `<set>.json`: pair sets, other sets, and the robustness table."""
    results, protocols, robustness = {}, {}, None
    for path in sorted(folder.glob("*.json")) if folder.is_dir() else ():
        content = _read_json(path, damaged)
        if path.stem == "robustness":
            robustness = content or None
        elif "accuracy" in content:
            results[path.stem] = content
        elif content.get("kind") in ("identification", "templates"):
            protocols[path.stem] = content
    return results, protocols, robustness
