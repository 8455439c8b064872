"""Sweeps: a folder a job, one table and one `sweep.csv` at the end."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import json
import os
import re
import sys
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from frfw.tracking.headline import headline
from frfw.training.run_folder import RunFolder

SWEPT = "FRFWSWEPT_KEYS"  # reaches jobs in other processes (hydra/launcher=joblib) too
_failed_jobs: list[str] = []


class SweepCallback(Callback):
    """Hydra's callback: before the jobs, remember the swept keys; after them, the table."""

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        keys = swept_keys(list(config.hydra.overrides.task))
        os.environ[SWEPT] = json.dumps(keys)
        print(f"sweep folder {config.hydra.sweep.dir}", flush=True)

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        folder = Path(config.hydra.sweep.dir)
        rows = collect(folder)
        write_csv(rows, folder / "sweep.csv")
        print_table(rows, folder)
        write_comparison(folder)
        _failed_jobs[:] = [r["job"] for r in rows if r["status"] in ("failed", "diverged")]


def swept_keys(overrides: list[str]) -> list[str]:
    """Return the keys that a command line gives several values."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    parsed = OverridesParser.create().parse_overrides(overrides)
    return [o.key_or_group for o in parsed if o.is_sweep_override()]


def job_name(overrides: list[str]) -> str:
    """Name a job by its values of the swept keys, the same whenever the sweep is started."""
    keys = json.loads(os.environ.get(SWEPT, "[]"))
    values = dict(o.lstrip("+").split("=", 1) for o in overrides if "=" in o)
    chosen = [f"{k}={values[k]}" for k in keys if k in values] or overrides or ["job"]
    name = re.sub(r"[^\w.,=+-]+", "_", ",".join(chosen))
    if len(name) > 120:
        name = name[:100] + "-" + hashlib.sha1(name.encode()).hexdigest()[:12]
    return name


def collect(folder: Path) -> list[dict[str, Any]]:
    """Return a row a job: its folder's name, status, swept values and validation accuracies."""
    keys = json.loads(os.environ.get(SWEPT, "[]"))
    rows = []
    for path in sorted(p.parent for p in folder.glob("*/result.json")):
        result = RunFolder(path).read_result() or {}
        row = {"job": path.name, "status": result.get("status", "failed")}
        row.update(_swept_values(path, keys))
        for name, metrics in (result.get("metrics") or {}).items():
            figure = headline(metrics)
            if figure:
                row[name if figure == "accuracy" else f"{name} {figure}"] = metrics[figure]
        row["minutes"] = result.get("minutes")
        row["error"] = result.get("error", "")
        rows.append(row)
    return rows


def _swept_values(path: Path, keys: list[str]) -> dict[str, str]:
    import yaml

    try:
        overrides = yaml.safe_load(RunFolder(path).overrides_file.read_text()) or []
    except OSError:
        return {}
    values = dict(o.lstrip("+").split("=", 1) for o in overrides if "=" in o)
    return {k: values[k] for k in keys if k in values}


def write_csv(rows: list[dict[str, Any]], path: Path) -> None:
    """Write one line a job; columns are the union of what the jobs have."""
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = list(dict.fromkeys(key for row in rows for key in row))
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, columns or ["job"])
        writer.writeheader()
        writer.writerows(rows)


def print_table(rows: list[dict[str, Any]], folder: Path) -> None:
    """Print the jobs with their verification accuracies."""
    from rich.console import Console
    from rich.table import Table

    # A sweep's jobs are named by their values, which have columns of their own; trials are not.
    hidden = ("error", "job") if all("=" in row["job"] for row in rows) else ("error",)
    columns = [c for c in dict.fromkeys(k for row in rows for k in row) if c not in hidden]
    table = Table(title=f"{len(rows)} jobs in {folder}")
    for column in columns:
        table.add_column(column, justify="left" if column in ("job", "status") else "right")
    for row in rows:
        table.add_row(*(_cell(column, row.get(column)) for column in columns))
    Console(width=None if sys.stdout.isatty() else 120).print(table)
    print(f"written to {folder / 'sweep.csv'}", flush=True)


def _cell(column: str, value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.1f}" if column == "minutes" else f"{100 * value:.2f} %"
    text = str(value)
    with contextlib.suppress(ValueError):  # a search's 0.10006862489040694
        return f"{float(text):.4g}" if len(text) > 8 else text
    return text


def write_comparison(folder: Path) -> None:
    """Write the report that compares a sweep's jobs; the sweep is not lost where that fails."""
    from frfw.tracking import write_comparison as write

    try:
        print(f"report: {write(folder)}", flush=True)
    except Exception as error:
        print(f"warning: no report ({error}); try python -m frfw.report {folder}", flush=True)


def exit_if_jobs_failed() -> None:
    """End the command with exit code 1 when a job of its sweep did not finish."""
    if _failed_jobs:
        print(
            f"error: {len(_failed_jobs)} job(s) did not finish: {', '.join(_failed_jobs)}",
            file=sys.stderr,
        )
        sys.exit(1)
