"""The plan: bytes that add up, the cheapest setting that fits, and the command."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from frfw.errors import FrfwError
from frfw.plan import main
from frfw.planning.head import head_bytes, head_flops
from frfw.planning.network import Network, measure
from frfw.planning.settings import Job, cheapest, left_out, settings

NETWORK = Network(parameters=10_000_000, macs=10**9, activations=5_000_000)
JOB = Job(
    classes=1_000_000,
    dim=512,
    sub_centers=1,
    devices=4,
    batch=512,
    precision="bf16",
    memory=40 * 10**9,
    sample_rate=0.1,
    momentum=1,
    memory_budget=None,
    cuda=True,
)


def by_name(job):
    return {setting.name: setting for setting in settings(job, NETWORK)}


def test_head_parts():
    plain = head_bytes(classes=100_000, dim=512, batch=128, memory_budget=0)
    weight = 100_000 * 512 * 4
    assert plain["weights"] == plain["gradient"] == plain["optimizer"] == weight
    assert plain["tiles"] < 0.1 * weight
    kept = head_bytes(classes=100_000, dim=512, batch=128)
    assert kept["tiles"] - plain["tiles"] > 0.9 * 128 * 100_000 * 4
    fused = head_bytes(classes=100_000, dim=512, batch=128, memory_budget=0, fused=True)
    assert fused["gradient"] == 0
    assert head_flops(1000, 512, 8, 1, True) == 3 * 2 * 1000 * 512 * 8


def test_sampled_rows_are_copied_while_the_optimizer_steps():
    options = {"classes": 100_000, "dim": 512, "batch": 128, "memory_budget": 0}
    row = 50_000 * 512 * 4
    for momentum in (0, 1, 2):
        found = head_bytes(**options, sampled=50_000, momentum=momentum)
        assert found["optimizer"] == 2 * momentum * row
        assert found["update"] + found["tiles"] == (1 + momentum) * row
    assert head_bytes(**options, sampled=50_000, fused=True)["update"] == 0
    assert head_bytes(**options)["update"] == 0


def test_settings_share_the_classes():
    found = by_name(JOB)
    assert "replicated + fused update" not in found  # refused over several devices
    assert found["replicated"].bytes["head weights"] == 4 * found["sharded"].bytes["head weights"]
    assert found["sampled"].bytes["head gradient"] < 0.12 * found["sharded"].bytes["head gradient"]
    assert found["sharded"].flops == found["replicated"].flops
    assert found["sharded"].sent < 0.01 * found["replicated"].sent
    assert "replicated + fused update" in by_name(replace(JOB, devices=1))
    assert not any(s.fused for s in settings(replace(JOB, momentum=2), NETWORK))


def test_parts_of_a_setting():
    found = by_name(replace(JOB, momentum=2))
    for setting in found.values():
        assert setting.bytes["backbone weights"] == 4 * NETWORK.parameters
        assert setting.bytes["backbone gradient"] == 4 * NETWORK.parameters
        assert setting.bytes["backbone optimizer"] == 8 * NETWORK.parameters
        assert setting.bytes["activations"] == 2 * NETWORK.activations * 128  # bf16, a device's
    # Embeddings and their gradients, of the own batch or of all.
    row = 4 * 512
    assert found["replicated"].bytes["head embeddings"] == 5 * row * 128
    assert found["sharded"].bytes["head embeddings"] == 5 * row * 512
    full = by_name(replace(JOB, precision="fp32"))["sharded"]
    assert full.bytes["activations"] == 4 * NETWORK.activations * 128
    # Exchanged: embeddings there and gradients back, or the gradient of the whole head.
    assert found["sharded"].sent == 2 * row * 512
    assert found["replicated"].sent == 2 * row * JOB.classes


def test_products_of_sampled_classes():
    found = by_name(JOB)
    share = found["sampled"].flops / found["sharded"].flops
    assert 0.1 <= share < 0.101
    assert found["sharded"].flops == 3 * 2 * 512 * 512 * JOB.classes / 4
    assert by_name(replace(JOB, memory_budget=0))["sharded"].flops == found["sharded"].flops * 4 / 3


def test_the_fused_update_is_offered_without_momentum_too():
    found = by_name(replace(JOB, devices=1, momentum=0))
    assert found["replicated + fused update"].bytes["head optimizer"] == 0
    assert found["replicated + fused update"].bytes["head gradient"] == 0


def test_cheapest_that_fits():
    found = settings(JOB, NETWORK)
    assert cheapest(found).name == "sharded"
    for setting in found:
        assert setting.total == sum(setting.bytes.values())
        assert setting.fits == (setting.total <= JOB.memory)
    tight = found[-1].total + 10_000_000
    small = cheapest(settings(replace(JOB, memory=tight), NETWORK))
    assert small.total <= tight
    assert cheapest(settings(replace(JOB, memory=10**6), NETWORK)) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"devices": 8, "classes": 5}, "use fewer devices"),
        ({"batch": 2}, "global_batch_size=2 does not divide over devices=4: take 4 or 8"),
        ({"batch": 510}, "global_batch_size=510 does not divide over devices=4: take 508 or 512"),
    ],
)
def test_jobs_that_cannot_be(change, message):
    with pytest.raises(FrfwError, match=message):
        replace(JOB, **change)


def test_what_training_refuses_is_left_out_with_the_reason():
    averaged = "replicated gradients are averaged before the update"
    assert left_out(JOB) == {averaged: ["replicated + fused update"]}
    assert left_out(replace(JOB, devices=1)) == {}
    fused = ["replicated + fused update", "sharded + fused update", "sampled + fused update"]
    for change, word in (({"precision": "fp16"}, "loss scaling"), ({"momentum": 2}, "is SGD")):
        job = replace(JOB, **change)
        assert [s.name for s in settings(job, NETWORK)] == ["replicated", "sharded", "sampled"]
        ((reason, names),) = left_out(job).items()
        assert word in reason
        assert names == fused
    few = left_out(replace(JOB, classes=9, devices=4))
    assert len(few["9 classes do not spread over 4 devices"]) == 4


def test_backbone_is_counted():
    network = measure({"name": "mobilefacenet", "embedding_dim": 128, "input_size": None}, 112)
    assert 0.5e6 < network.parameters < 2e6
    assert 1e8 < network.macs < 5e8
    assert network.activations > 112 * 112 * 3


def test_command_prints_the_cheapest():
    command = [sys.executable, "-W", "ignore", "-m", "frfw.plan", "classes=200_000", "devices=2"]
    command += ["backbone=mobilefacenet", "device_memory=24GB", "memory_budget=300MB"]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=Path(__file__).parents[2], timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert "head gradient" in done.stdout
    assert "Cheapest that fits: sharded" in done.stdout
    assert "not possible: replicated + fused update: replicated gradients" in done.stdout
    assert (
        "  trainer.devices=2 trainer.global_batch_size=512 trainer.precision=bf16 optimizer=sgd "
        "classifier.parallel=sharded classifier.mode=tiled classifier.memory_budget=300MB"
    ) in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["device_memory=1MB"], "device_memory=1MB leaves nothing beyond reserve=2GB"),
        (["device_memory=80"], "device_memory=80 leaves nothing beyond reserve=2GB (a number"),
        (["classes=many"], "classes=many: give a whole number from 1 on"),
        (["classes=1.5"], "classes=1.5: give a whole number from 1 on"),
        (["classes=null"], "classes=None: give a whole number from 1 on"),
        (["global_batch_size=0"], "global_batch_size=0: give a whole number from 1 on"),
        (["optimizer.momentum=abc"], "optimizer.momentum=abc: give a number from 0 on"),
        (["sample_rate=half"], "sample_rate=half: give a rate above 0 and up to 1"),
        (["precision=fp8"], "precision=fp8: there is no such choice. Did you mean 'fp32'?"),
        (["memory_budget=some"], "memory_budget: 'some' is not an amount of memory"),
    ],
)
def test_jobs_that_the_command_refuses(monkeypatch, capsys, arguments, message):
    monkeypatch.setattr(sys, "argv", ["frfw.plan", "backbone=mobilefacenet", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    assert capsys.readouterr().err.startswith(f"error: {message}")


@pytest.mark.parametrize("device", ["cuda", "cpu"])
def test_the_device_is_among_the_keys(monkeypatch, capsys, device):
    arguments = ["backbone=mobilefacenet", f"device={device}", "optimizer.momentum=0"]
    monkeypatch.setattr(sys, "argv", ["frfw.plan", *arguments])
    main()
    said = capsys.readouterr().out
    assert ("trainer.device=cpu" in said) == (device == "cpu")
    assert "not possible" not in said


def test_momentum_is_counted_where_there_is_one(monkeypatch, capsys):
    command = ["frfw.plan", "backbone=mobilefacenet", "classes=1e6", "reserve=null"]
    momenta = []
    for options in ([], ["optimizer.momentum=0"]):
        monkeypatch.setattr(sys, "argv", [*command, *options])
        main()
        said = capsys.readouterr().out
        assert said.startswith("1,000,000 classes")
        assert "of which 0 are left free" in said
        assert ("optimizer.momentum=0" in said) == bool(options)
        line = next(line for line in said.splitlines() if line.startswith("head optimizer"))
        momenta.append([float(value) for value in line.split()[2:]])
    assert max(momenta[0]) == pytest.approx(2.048)
    assert max(momenta[1]) == 0
