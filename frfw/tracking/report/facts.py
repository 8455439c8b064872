"""What was run, and on what, in the words of the report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from frfw.tracking.progress import clock
from frfw.tracking.report.charts import short
from frfw.tracking.report.curves import value
from frfw.tracking.runs import Run

Row = tuple[str, str]


def headline(run: Run) -> str:
    """Say in one sentence what was trained: loss with its numbers, backbone, data, length."""
    loss = run.config.get("loss")
    numbers = loss if isinstance(loss, dict) else {}
    keys = [f"{k} {v:g}" for k in ("m", "s") if isinstance(v := numbers.get(k), int | float)]
    text = ", ".join([_name(run, "loss"), *keys]) + f" on {_name(run, 'backbone')}"
    path = run.key("data.path")
    return text + (f", trained on {Path(str(path)).name}" if path else "")


def chips(run: Run) -> list[Row]:
    """Name the figures that one looks for first."""
    found: list[Row] = [("status", run.status)]
    steps = run.curves.get("train/loss")
    if steps is not None:
        found.append(("steps", f"{int(steps.steps[-1]):,}"))
    batch = run.key("trainer.global_batch_size")
    if batch:
        found.append(("batch", f"{batch:,}"))
    seconds = _seconds(run)
    if seconds:
        found.append(("time", clock(seconds)))
    speed = run.curves.get("train/images_per_s")
    if speed is not None and len(speed.finite().values):
        found.append(("images/s", short(float(f"{speed.finite().values.mean():.3g}"))))
    device = run.environment.get("device") or {}
    if device:
        found.append(("device", str(device.get("name") or device.get("type", "?"))))
    if run.seed is not None:
        found.append(("seed", str(run.seed)))
    return found


def _seconds(run: Run) -> float:
    minutes = run.result.get("minutes")
    longest = max((float(c.seconds[-1]) for c in run.curves.values()), default=0.0)
    return max(float(minutes) * 60 if minutes else 0.0, longest)


def _name(run: Run, group: str) -> str:
    chosen = run.config.get(group)
    if isinstance(chosen, dict):
        chosen = chosen.get("name", "?")
    return str(chosen) if chosen is not None else "?"


def final_numbers(run: Run) -> list[Row]:
    """Say where the training numbers ended."""
    names = {
        "train/loss": ("training loss", False),
        "head/accuracy_no_margin": ("training accuracy without margin", True),
        "head/cos_target_mean": ("cosine to the own class", False),
        "head/max_negative_cos": ("cosine to the nearest other class", False),
        "head/t": ("t", False),
        "train/skipped_steps": ("skipped steps", False),
    }
    return [
        (label, value(run.curves[name].last, percent))
        for name, (label, percent) in names.items()
        if name in run.curves
    ]


def settings(config: dict[str, Any]) -> list[tuple[str, list[Row]]]:
    """List the config by group; what has no group comes first, as "run"."""
    top = [(key, plain(v)) for key, v in config.items() if not isinstance(v, dict)]
    groups = [("run", top)] if top else []
    for key, inner in config.items():
        if isinstance(inner, dict) and inner:
            groups.append((key, [(k, plain(v)) for k, v in _flat(inner)]))
    return groups


def _flat(table: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for key, inner in table.items():
        if isinstance(inner, dict) and inner:
            rows += _flat(inner, f"{prefix}{key}.")
        else:
            rows.append((f"{prefix}{key}", inner))
    return rows


def plain(setting: Any) -> str:
    """Write a config value as one would type it."""
    if setting is None:
        return "–"
    if isinstance(setting, bool):
        return "true" if setting else "false"
    if isinstance(setting, float):
        return f"{setting:g}"
    if isinstance(setting, list | tuple):
        return ", ".join(plain(s) for s in setting) or "–"
    return str(setting)


def environment_rows(environment: dict[str, Any]) -> list[Row]:
    """List what the run ran on."""
    if not environment:
        return []
    git = environment.get("git") or {}
    cpu, device = environment.get("cpu") or {}, environment.get("device") or {}
    commit = git.get("commit")
    rows = [
        ("started", environment.get("started")),
        ("command", " ".join(environment.get("command") or [])),
        ("commit", f"{commit[:12]}{', with changes' if git.get('changed') else ''}" if commit
         else None),
        ("device", ", ".join(_device(device))),
        ("processes", environment.get("world")),
        ("CPU", _cpu(cpu)),
        ("system", environment.get("platform")),
        ("Python", environment.get("python")),
        ("frfw", environment.get("frfw")),
        *(environment.get("packages") or {}).items(),
    ]  # fmt: skip
    earlier = environment.get("earlier") or []
    if earlier:
        rows.insert(1, ("resumed", f"{len(earlier)} time{'s' if len(earlier) > 1 else ''}"))
    return [(name, str(v)) for name, v in rows if v not in (None, "")]


def _device(device: dict[str, Any]) -> list[str]:
    told = [str(device.get("name") or device.get("type") or "")]
    if device.get("memory_gib"):
        told.append(f"{device['memory_gib']} GiB")
    if device.get("cuda"):
        told.append(f"CUDA {device['cuda']}")
    return [t for t in told if t]


def _cpu(cpu: dict[str, Any]) -> str | None:
    if not cpu:
        return None
    told = [str(cpu.get("name", "?")), f"{cpu.get('cores', '?')} cores"]
    if cpu.get("memory_gib"):
        told.append(f"{cpu['memory_gib']} GiB")
    return ", ".join(told)
