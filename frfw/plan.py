"""python -m frfw.plan: what a training needs of each device, and the cheapest way that fits."""

from __future__ import annotations

from typing import Any

from frfw.command import hydra_command
from frfw.errors import FrfwError

_MOMENTUM = {"sgd": 1, "adamw": 2}


def _job(cfg: Any) -> Any:
    from frfw.classifier.tiles import parse_budget
    from frfw.planning.settings import Job

    if cfg.device not in ("cuda", "cpu"):
        raise FrfwError(f"device={cfg.device}: choose cuda or cpu")
    memory = (parse_budget(cfg.device_memory) or 0) - (parse_budget(cfg.reserve) or 0)
    if memory <= 0:
        raise FrfwError(
            f"device_memory={cfg.device_memory} leaves nothing beyond reserve={cfg.reserve}"
        )
    return Job(
        classes=cfg.classes,
        dim=cfg.backbone.embedding_dim,
        sub_centers=cfg.sub_centers,
        devices=cfg.devices,
        batch=cfg.global_batch_size,
        precision=cfg.precision,
        memory=memory,
        sample_rate=cfg.sample_rate,
        momentum=_MOMENTUM[cfg.optimizer.name],
        memory_budget=parse_budget(cfg.memory_budget),
        cuda=cfg.device == "cuda",
    )


@hydra_command("plan")
def main(cfg: Any) -> None:
    """Print bytes and work per device of every way to run a training, and the cheapest."""
    from frfw.planning.network import measure
    from frfw.planning.settings import cheapest, settings

    job = _job(cfg)
    network = measure(dict(cfg.backbone), cfg.input_size)
    found = settings(job, network)
    print(
        f"{job.classes:,} classes, {cfg.backbone.name} ({network.parameters / 1e6:.1f} M "
        f"parameters, {network.macs / 1e9:.2f} G multiply-adds), batch {job.batch} over "
        f"{job.devices} devices, {job.precision}; GB per device\n"
    )
    print(_table(found))
    work = 6.0 * network.macs * -(-job.batch // job.devices) / 1e12
    print(f"\nBackbone, forward and backward: {work:.2f} TFLOP a step and device.")
    print(f"A device has {cfg.device_memory}, of which {cfg.reserve} are left free.")
    best = cheapest(found)
    if best is None:
        least = min(found, key=lambda s: s.total)
        print(
            f"Nothing fits. The smallest is {least.name} with {least.total / 1e9:.2f} GB: use "
            "more devices, a smaller global_batch_size or a smaller sample_rate."
        )
        return
    print(f"Cheapest that fits: {best.name}\n")
    keys = [f"classifier.parallel={best.parallel}", "classifier.mode=tiled"]
    keys += [f"classifier.fused_update={str(best.fused).lower()}"] if best.fused else []
    keys += [f"classifier.sample_rate={job.sample_rate}"] if best.parallel == "sampled" else []
    print("  " + " ".join(keys))


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
