"""Was a checkpoint chosen by its score on the very set that it is scored on now?"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from frfw.evaluation.opening import PLACES
from frfw.tracking.runs import read_metrics


def chosen_on(checkpoint: Path, config: Mapping[str, Any], sets: Mapping[str, Any]) -> list[str]:
    """Return the names of those `sets` that `checkpoint` was chosen on.

    A run keeps as `best.pt` the step with the best mean score on its pair sets (on its other sets
    where it has no pairs). The best of many looks is a little lucky on what was looked at: such
    figures flatter. Other checkpoints, and runs that were scored once, were not chosen.

    Args:
        checkpoint: the file that is scored.
        config: of its run.
        sets: by name, a path or a mapping as `evaluation.sets` holds it.
    """
    if checkpoint.name != "best.pt":
        return []
    looked = (config.get("evaluation") or {}).get("sets") or {}
    pairs = {name: source for name, source in looked.items() if _kind(source) == "pairs"}
    log = checkpoint.parent.parent / "metrics.jsonl"
    curves = read_metrics(log)

    def looks(name: str) -> int:
        known = [len(c.steps) for key, c in curves.items() if key.startswith(f"val/{name}/")]
        return max(known, default=0) if log.is_file() else 2

    deciding = {n: source for n, source in (pairs or looked).items() if looks(n) > 1}
    return [
        name
        for name, source in sets.items()
        if any(_alike(name, source, other, theirs) for other, theirs in deciding.items())
    ]


def warning(name: str) -> str:
    """Say it of one set."""
    return (
        f"{name}: best.pt was chosen among the run's checkpoints by its score on this set, so "
        "these figures flatter; checkpoint=RUN/checkpoints/last.pt was not chosen"
    )


def _kind(source: Any) -> str:
    return str(source.get("kind") or "pairs") if isinstance(source, Mapping) else "pairs"


def _alike(name: str, source: Any, other: str, theirs: Any) -> bool:
    """The same files, or a set of the same name whose files are called the same elsewhere."""
    ours, known = _places(source), _places(theirs)
    if not ours or len(ours) != len(known):
        return False
    if [p.resolve() for p in ours] == [p.resolve() for p in known]:
        return True
    return name == other and [p.name for p in ours] == [p.name for p in known]


def _places(source: Any) -> list[Path]:
    given = source if isinstance(source, Mapping) else {"path": source}
    keys = PLACES.get(_kind(given), ())
    return [Path(str(given[key])) for key in keys if given.get(key)]
