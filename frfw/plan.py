"""python -m frfw.plan: what a training needs of each device, and the cheapest way that fits."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from frfw.command import hydra_command
from frfw.errors import FrfwError, nearest

_MOMENTUM = {"sgd": 1, "adamw": 2}  # numbers kept for a weight


def _job(cfg: Any) -> Any:
    from frfw.planning.settings import PRECISIONS, Job
    from frfw.values import number, rate, whole

    memory = (_bytes(cfg, "device_memory") or 0) - (_bytes(cfg, "reserve") or 0)
    if memory <= 0:
        raise FrfwError(
            f"device_memory={cfg.device_memory} leaves nothing beyond reserve={cfg.reserve} "
            "(a number without a unit is bytes: write 80GB)"
        )
    optimizer = _choice(cfg.optimizer.name, "optimizer.name", _MOMENTUM)
    plain = optimizer == "sgd" and not number(cfg.optimizer.momentum, "optimizer.momentum", 0)
    return Job(
        classes=whole(cfg.classes, "classes", 1),
        dim=whole(cfg.backbone.embedding_dim, "backbone.embedding_dim", 1),
        sub_centers=whole(cfg.sub_centers, "sub_centers", 1),
        devices=whole(cfg.devices, "devices", 1),
        batch=whole(cfg.global_batch_size, "global_batch_size", 1),
        precision=_choice(cfg.precision, "precision", PRECISIONS),
        memory=memory,
        sample_rate=rate(cfg.sample_rate, "sample_rate"),
        momentum=0 if plain else _MOMENTUM[optimizer],
        memory_budget=_bytes(cfg, "memory_budget"),
        cuda=_choice(cfg.device, "device", ("cuda", "cpu")) == "cuda",
    )


def _bytes(cfg: Any, key: str) -> int | None:
    from frfw.classifier.tiles import parse_budget

    try:
        return parse_budget(cfg[key])
    except FrfwError as error:
        raise FrfwError(f"{key}: {error}") from error


def _choice(value: Any, key: str, choices: Iterable[str]) -> str:
    if value not in choices:
        hint = nearest(value, choices)
        raise FrfwError(
            f"{key}={value}: there is no such choice.{hint} Choices: {', '.join(choices)}"
        )
    return value


@hydra_command("plan")
def main(cfg: Any) -> None:
    """Print bytes and work per device of every way to run a training, and the cheapest."""
    from frfw.planning.network import measure
    from frfw.planning.settings import cheapest, left_out, settings
    from frfw.values import whole

    job = _job(cfg)
    network = measure(dict(cfg.backbone), whole(cfg.input_size, "input_size", 1))
    found = settings(job, network)
    print(
        f"{job.classes:,} classes, {cfg.backbone.name} ({network.parameters / 1e6:.1f} M "
        f"parameters, {network.macs / 1e9:.2f} G multiply-adds), batch {job.batch} over "
        f"{job.devices} devices, {job.precision}; GB per device\n"
    )
    print(_table(found))
    for reason, names in left_out(job).items():
        print(f"not possible: {', '.join(names)}: {reason}")
    work = 6.0 * network.macs * -(-job.batch // job.devices) / 1e12
    print(f"\nBackbone, forward and backward: {work:.2f} TFLOP a step and device.")
    print(f"A device has {cfg.device_memory}, of which {cfg.reserve or 0} are left free.")
    best = cheapest(found)
    if best is None:
        least = min(found, key=lambda s: s.total)
        print(
            f"Nothing fits. The smallest is {least.name} with {least.total / 1e9:.2f} GB: use "
            "more devices, a smaller global_batch_size or a smaller sample_rate"
            + (", or optimizer=sgd." if job.momentum == 2 else ".")
        )
        return
    print(f"Cheapest that fits: {best.name}\n")
    print("  " + " ".join(_overrides(cfg, job, best)))
    if best.fused:
        print("  (the fused update needs trainer.clip_norm=null and no accumulation)")


def _overrides(cfg: Any, job: Any, best: Any) -> list[str]:
    """What `frfw.train` must be given for a setting, beside backbone, loss and data."""
    keys = [f"trainer.devices={job.devices}"] if job.devices > 1 else []
    keys += [] if job.cuda else ["trainer.device=cpu"]
    keys += [
        f"trainer.global_batch_size={job.batch}",
        f"trainer.precision={job.precision}",
        f"optimizer={cfg.optimizer.name}",
        *(["optimizer.momentum=0"] if job.momentum == 0 else []),
        f"classifier.parallel={best.parallel}",
        "classifier.mode=tiled",
    ]
    keys += ["classifier.fused_update=true"] if best.fused else []
    keys += [f"classifier.sample_rate={job.sample_rate}"] if best.parallel == "sampled" else []
    budget = cfg.memory_budget
    return keys + ([] if budget is None else [f"classifier.memory_budget={budget}"])


def _table(found: list[Any]) -> str:
    """Parts as rows, settings as columns."""
    width = max(len(setting.name) for setting in found) + 2
    lines = [" " * 28 + "".join(setting.name.rjust(width) for setting in found)]
    for part in found[0].bytes:
        values = "".join(f"{s.bytes[part] / 1e9:{width}.3f}" for s in found)
        lines.append(part.ljust(28) + values)
    lines.append("total".ljust(28) + "".join(f"{s.total / 1e9:{width}.3f}" for s in found))
    lines.append(
        "head products, TFLOP a step".ljust(28)
        + "".join(f"{s.flops / 1e12:{width}.2f}" for s in found)
    )
    lines.append(
        "head exchange, GB a step".ljust(28) + "".join(f"{s.sent / 1e9:{width}.3f}" for s in found)
    )
    lines.append(
        "fits".ljust(28) + "".join(("yes" if s.fits else "no").rjust(width) for s in found)
    )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
