"""Run CurricularFace's ablations on synthetic faces and write their tables and plots.

    python -m frfw.synthesize out=data/synthetic
    python scripts/ablations.py                    # every study; skips jobs that are done
    python scripts/ablations.py --study t --minutes 10
    python scripts/ablations.py --part 1/2 & python scripts/ablations.py --part 2/2
    python scripts/ablations.py --report-only      # tables and plots from what is there

A study is a file configs/experiment/curricular_ablation_<study>.yaml; the values it sweeps are its
hydra.sweeper.params, so `python -m frfw.train -m experiment=curricular_ablation_<study>` runs the
same jobs. Here they run in one process, one after another.
"""

from __future__ import annotations

import argparse
import itertools
import json
import shutil
import time
from pathlib import Path
from typing import Any

import yaml
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from frfw import command
from frfw.config import config_dir
from frfw.training.run_folder import RunFolder

STUDIES = {
    "t": "t fixed against adaptive",
    "margin": "convergence as the margin grows",
    "statistic": "the statistic that sets t",
}
SETS = ("lfw", "cfp_fp")
CHANCE = 0.55  # accuracy below which a run has learnt nothing that carries over
Job = dict[str, str]  # swept key -> value


def jobs(study: str) -> list[Job]:
    """Return the jobs of a study, one a combination of the values that its config sweeps."""
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        overrides = [f"experiment=curricular_ablation_{study}"]
        swept = compose("train", overrides, return_hydra_config=True).hydra.sweeper.params
    values = [[(key, value.strip()) for value in str(v).split(",")] for key, v in swept.items()]
    return [dict(pairs) for pairs in itertools.product(*values)]


def folder(runs: Path, study: str, job: Job) -> Path:
    return runs / study / ",".join(f"{k}={v}" for k, v in job.items())


def run(study: str, job: Job, path: Path, extra: list[str]) -> None:
    """Train one job, unless its result is there; one that was cut off continues."""
    from frfw.training.launch import launch

    record = RunFolder(path)
    if (record.read_result() or {}).get("status") in ("finished", "diverged"):
        return
    overrides = [f"experiment=curricular_ablation_{study}"]
    overrides += [f"{k}={v}" for k, v in job.items()] + extra
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        config = OmegaConf.to_container(compose("train", overrides), resolve=True)
    config.pop("experiment", None)
    if copied(config, path):
        return
    if path.is_dir():
        config["resume"] = "auto"
    print(f"job {path}", flush=True)
    try:
        if launch(config, path, overrides)["status"] == "stopped":
            raise SystemExit(f"stopped in {path}; the same command goes on from there")
    except Exception as error:  # a diverged job is a finding of the study, not the end of it
        command.report(error)
        result = record.read_result() or {"status": "failed", "error": command.one_line(error)}
        record.write_result(result)


def copied(config: dict[str, Any], path: Path) -> bool:
    """Copy the job of another study that had the very same config, if it is done."""
    for done in sorted(path.parent.parent.glob("*/*/result.json")):
        record = RunFolder(done.parent)
        same = yaml.safe_load(record.config_file.read_text()) == config
        if same and (record.read_result() or {}).get("status") == "finished":
            shutil.copytree(done.parent, path, dirs_exist_ok=True)
            print(f"job {path}: the same as {done.parent}", flush=True)
            return True
    return False


def read(study: str, runs: Path) -> list[dict[str, Any]]:
    """Return one row a finished job: its values, status, accuracies, loss curve and last t."""
    rows = []
    for job in jobs(study):
        path = folder(runs, study, job)
        result = RunFolder(path).read_result()
        if result is None or result["status"] == "stopped":
            continue
        lines = (path / "metrics.jsonl").read_text().splitlines()
        logged = [json.loads(line) for line in lines]
        curve = [(x["step"], x["train/loss"]) for x in logged if "train/loss" in x]
        row = {"job": job, "status": result["status"], "curve": curve}
        row["minutes"] = result.get("minutes", 0.0)
        row["t"] = next((x["head/t"] for x in reversed(logged) if "head/t" in x), None)
        for name in SETS:
            row[name] = ((result.get("metrics") or {}).get(name) or {}).get("accuracy")
        rows.append(row)
    return rows


def grouped(rows: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Group rows over seeds, by the other values."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        values = [f"{k.split('.')[-1]} = {v}" for k, v in row["job"].items() if k != "seed"]
        label = ", ".join(values).replace("loss = ", "")
        groups.setdefault(label, []).append(row)
    return groups


def spread(values: list[float | None], percent: bool = False) -> str:
    """Return "mean ± standard deviation" (n - 1) of the values that are there."""
    there = [v * (100 if percent else 1) for v in values if v is not None]
    if not there:
        return "-"
    mean = sum(there) / len(there)
    if len(there) == 1:
        return f"{mean:.2f}"
    deviation = (sum((v - mean) ** 2 for v in there) / (len(there) - 1)) ** 0.5
    return f"{mean:.2f} ± {deviation:.2f}"


def final_loss(row: dict[str, Any]) -> float:
    """Return the mean of the last tenth of the loss curve."""
    losses = [loss for _, loss in row["curve"]]
    last = losses[-max(1, len(losses) // 10) :]
    return sum(last) / len(last)


def table(rows: list[dict[str, Any]]) -> str:
    """Return a Markdown table, one line a setting, mean ± standard deviation over seeds."""
    sets = [f"{name} %" for name in SETS]
    columns = ["setting", "seeds", *sets, "final loss", "t at the end", "outcome"]
    lines = [f"| {' | '.join(columns)} |", "|" + " --- |" * len(columns)]
    for label, group in grouped(rows).items():
        accuracies = [spread([r[name] for r in group], percent=True) for name in SETS]
        losses = spread([final_loss(r) for r in group if r["curve"]])
        lines.append(
            f"| {label} | {len(group)} | {' | '.join(accuracies)} | {losses} "
            f"| {spread([r['t'] for r in group])} | {outcome(group)} |"
        )
    return "\n".join(lines)


def outcome(group: list[dict[str, Any]]) -> str:
    """Say in words how the runs of one setting went."""
    diverged = sum(r["status"] == "diverged" for r in group)
    failed = sum(r["status"] not in ("finished", "diverged") for r in group)
    stuck = sum(
        r["status"] == "finished" and final_loss(r) > 0.95 * max(loss for _, loss in r["curve"])
        for r in group
    )
    # Of 600 pairs, half of them right with a standard error of 2 points.
    chance = sum(at_chance(r) for r in group)
    found = [(diverged, "diverged"), (stuck, "loss did not fall"), (failed, "failed")]
    found.append((chance, "no better than chance"))
    said = [f"{count} {what}" for count, what in found if count]
    return ", ".join(said) or "all converge"


def at_chance(row: dict[str, Any]) -> bool:
    """Whether a run's embedding separates nobody, on any of the sets."""
    return max(row[name] or 0.5 for name in SETS) < CHANCE


def plot(study: str, rows: list[dict[str, Any]], path: Path) -> None:
    """Draw the loss curves, a panel a loss and a line a run, and the accuracies."""
    from frfw.figures.style import close, panels

    groups = grouped(rows)
    losses = sorted({row["job"].get("loss", "") for row in rows})
    figure, axes = panels(len(losses) + 1, width=4.6)
    for panel, loss in zip(axes, losses):
        for i, (label, group) in enumerate(groups.items()):
            if group[0]["job"].get("loss", "") == loss:
                draw_curves(panel, group, label.removeprefix(f"{loss}, "), _color(i, rows))
        panel.set(xlabel="step", ylabel="training loss", title=loss or STUDIES[study])
        panel.set_ylim(0, 1.05 * max(value for row in rows for _, value in row["curve"]))
        panel.legend(
            fontsize=8,
            loc="lower left",
            ncol=2,
            title="dotted: at chance in the end",
            title_fontsize=7,
        )
    draw_accuracies(axes[-1], groups, rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90, bbox_inches="tight")
    close(figure)


def _color(i: int, rows: list[dict[str, Any]]) -> str:
    """Give the same value of the swept key the same colour in every loss's panel."""
    losses = len({row["job"].get("loss", "") for row in rows})
    return f"C{i % (len(grouped(rows)) // losses)}"


def draw_curves(panel: Any, group: list[dict[str, Any]], label: str, color: str) -> None:
    """Draw one setting's runs, smoothed over five logged losses."""
    for number, row in enumerate(group):
        steps = [step for step, _ in row["curve"]]
        values = [loss for _, loss in row["curve"]]
        smooth = [sum(values[max(0, i - 4) : i + 1]) / min(i + 1, 5) for i in range(len(values))]
        style = ":" if at_chance(row) or row["status"] != "finished" else "-"
        panel.plot(steps, smooth, style, color=color, lw=1, label=None if number else label)


def draw_accuracies(panel: Any, groups: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    """Draw a dot a seed and a bar the mean, over the settings, for each set."""
    for x, (name, marker) in enumerate(zip(SETS, "os")):
        for i, group in enumerate(groups.values()):
            at = [100 * r[name] for r in group if r[name] is not None]
            shift = i + 0.24 * x - 0.12
            kind = {"color": _color(i, rows), "alpha": 0.6}
            panel.plot([shift] * len(at), at, marker, ms=4, label=None if i else name, **kind)
            if at:
                panel.plot(shift, sum(at) / len(at), "_", color=_color(i, rows), ms=12, mew=2)
    panel.set_xticks(range(len(groups)), list(groups), rotation=40, ha="right", fontsize=8)
    panel.set(ylabel="verification accuracy, %", title="a mark a seed, a bar the mean")
    panel.legend(fontsize=8, loc="best")


def report(runs: Path, out: Path, studies: list[str]) -> None:
    """Write out/tables.md and a plot a study from the jobs that are there."""
    out.mkdir(parents=True, exist_ok=True)
    parts = []
    for study in studies:
        rows = read(study, runs)
        if not rows:
            continue
        plot(study, rows, out / f"ablation_{study}.png")
        minutes = sum(r["minutes"] for r in rows)
        parts.append(
            f"## {STUDIES[study]}\n\n{table(rows)}\n\n{minutes:.1f} minutes of training.\n"
        )
    (out / "tables.md").write_text("\n".join(parts))
    print("\n".join(parts))
    print(f"written to {out}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--study", choices=[*STUDIES, "all"], default="all")
    parser.add_argument("--runs", type=Path, default=Path("runs/ablations"))
    parser.add_argument("--out", type=Path, default=Path("runs/ablations/report"))
    parser.add_argument("--minutes", type=float, default=1e9, help="start no job after this long")
    parser.add_argument("--part", default="1/1", help="i/n: every n-th job, from the i-th")
    parser.add_argument("--report-only", action="store_true")
    parser.add_argument("overrides", nargs="*", help="of every job, like data.path=...")
    options = parser.parse_args()
    studies = list(STUDIES) if options.study == "all" else [options.study]
    end = time.monotonic() + 60 * options.minutes
    part, parts = (int(number) for number in options.part.split("/"))
    everything = [(s, j) for s in studies for j in jobs(s)]
    for study, job in everything[part - 1 :: parts]:
        if options.report_only or time.monotonic() > end:
            break
        run(study, job, folder(options.runs, study, job), options.overrides)
    report(options.runs, options.out, studies)


if __name__ == "__main__":
    command.run(main)
