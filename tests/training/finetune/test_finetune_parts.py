"""Freezing, layer-wise rates, batch norm, class means, warm-up and pull."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from frfw.backbones import create_backbone
from frfw.data import BadImage, Preprocessing
from frfw.errors import FrfwError
from frfw.losses import create_formula
from frfw.training.finetune import DEFAULTS, FineTuning
from frfw.training.finetune.head_rows import choose_head, chosen_images, class_means, set_rows
from frfw.training.finetune.pull import Pull
from frfw.training.finetune.stages import (
    freeze_parameters,
    frozen_stages,
    held_norms,
    layer_groups,
    stage_index,
)
from frfw.training.finetune.table import before_after
from frfw.training.finetune.warmup import LossWarmup


def net(name: str = "iresnet18"):
    torch.manual_seed(0)
    return create_backbone(name, 16, 32, width=0.125)


class Data:
    """Four identities, the last without images; one colour each."""

    num_classes, fingerprint = 4, "f"
    labels = np.array([2, 0, 1, 0, 2, 2, 1, 0, 0])

    def __getitem__(self, i: int) -> np.ndarray:
        image = np.full((32, 32, 3), 60 * self.labels[i] + i, np.uint8)
        image[:, :, self.labels[i]] = 250
        return image


PIXELS = Preprocessing(size=32)


@pytest.mark.parametrize(
    ("freeze", "expected"),
    [(None, set()), ("layer1", {0, 1}), (["layer2", "stem"], {0, 2}), ("all", set(range(6)))],
)
def test_frozen_stages(freeze, expected):
    assert frozen_stages(net(), freeze) == expected


def test_unknown_stage_names_the_nearest():
    with pytest.raises(FrfwError, match=r"no stage 'layer9'.*layer"):
        frozen_stages(net(), "layer9")


@pytest.mark.parametrize("name", ["iresnet18", "ir18", "mobilefacenet", "mbf", "mbf_large"])
def test_frozen_parameters_do_not_train_and_the_rest_does(name):
    network = net(name)
    count = freeze_parameters(network, "layer2")
    network(torch.randn(4, 3, 32, 32)).square().sum().backward()
    for key, parameter in network.named_parameters():
        if stage_index(network, key) <= 2:
            assert parameter.grad is None
    assert 0 < count < sum(p.numel() for p in network.parameters())
    assert any(p.grad is not None for p in network.parameters())


def test_held_statistics_do_not_move_even_after_an_evaluation():
    network = net()
    tuning = FineTuning({"freeze": "layer1"}, None)
    tuning.prepare(network)
    tuning.follow(network, None, steps=10)
    before = {k: v.clone() for k, v in network.state_dict().items() if "running" in k}
    network.eval()
    network.train()
    tuning.before_step(0)
    network(torch.randn(4, 3, 32, 32))
    moved = {k for k, v in network.state_dict().items() if k in before and (v != before[k]).any()}
    assert moved
    assert all(stage_index(network, k) > 1 for k in moved)
    assert not any(stage_index(network, k) > 1 for k in before.keys() - moved)


def test_batch_norm_freeze_holds_all():
    network = net()
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]
    assert held_norms(network, None, "freeze") == norms
    assert held_norms(network, None, "train") == []
    with pytest.raises(FrfwError, match="batch_norm=keep"):
        held_norms(network, None, "keep")


def test_layer_groups_rates_decay_and_cover_everything_once():
    network = net()
    freeze_parameters(network, "stem")
    groups = layer_groups(network, 5e-4, 0.5)
    owned = [p for g in groups for p in g["params"]]
    trainable = [p for p in network.parameters() if p.requires_grad]
    assert {id(p) for p in owned} == {id(p) for p in trainable}
    assert len(owned) == len(trainable)
    names = {id(p): k for k, p in network.named_parameters()}
    for group in groups:
        for parameter in group["params"]:
            assert group["lr_factor"] == 0.5 ** (5 - stage_index(network, names[id(parameter)]))
            assert group["weight_decay"] == (5e-4 if parameter.ndim > 1 else 0.0)
    with pytest.raises(FrfwError, match="layer_decay"):
        layer_groups(network, 0.0, 1.5)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=60).map(np.array), st.integers(1, 7))
def test_chosen_images_are_of_the_class_distinct_and_at_most_k(labels, k):
    chosen = chosen_images(labels, 6, k)
    for label, indices in enumerate(chosen):
        assert len(set(indices.tolist())) == len(indices) == min(k, (labels == label).sum())
        assert (labels[indices] == label).all()


def test_class_means_are_means_of_unit_embeddings():
    network, data = net(), Data()
    network.train()
    means = class_means(network, data, PIXELS, per_class=10, batch_size=4)
    assert all(m.training for m in network.modules())
    network.eval()
    for label in range(3):
        rows = [torch.from_numpy(data[i]) for i in np.flatnonzero(data.labels == label)]
        x = (torch.stack(rows).permute(0, 3, 1, 2).float() - 127.5) / 127.5
        with torch.no_grad():
            mean = nn.functional.normalize(nn.functional.normalize(network(x)).mean(0), dim=0)
        torch.testing.assert_close(means[label], mean, rtol=1e-4, atol=1e-4)
    assert means[3].norm() == 0


def test_class_means_of_a_range_are_those_of_all():
    network, data = net(), Data()
    means = class_means(network, data, PIXELS, batch_size=4)
    # Nothing is exchanged: a rank that holds a range asks for nobody else's.
    held = class_means(network, data, PIXELS, batch_size=4, held=(1, 4), rank=1, world=2)
    torch.testing.assert_close(held, means[1:4])


def test_class_means_see_the_networks_channels_and_leave_bad_images_out():
    class WithOneBad(Data):
        def __getitem__(self, index):
            if index == 0:
                raise BadImage("train.rec record 1: cut off")
            return super().__getitem__(index)

    network, data = net(), WithOneBad()
    how = replace(PIXELS, channels="bgr")
    means = class_means(network, data, how, batch_size=1)
    network.eval()
    rows = [torch.from_numpy(data[i]) for i in np.flatnonzero(data.labels == 2) if i]
    x = (torch.stack(rows).permute(0, 3, 1, 2).flip(1).float() - 127.5) / 127.5
    with torch.no_grad():
        mean = nn.functional.normalize(nn.functional.normalize(network(x)).mean(0), dim=0)
    torch.testing.assert_close(means[2], mean, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("centers", [1, 3])
def test_rows_classify_the_images_they_were_made_from(centers):
    network, data = net(), Data()
    weight = nn.Parameter(0.01 * torch.randn(4 * centers, 16))
    head = SimpleNamespace(weight=weight, formula=SimpleNamespace(sub_centers=centers))
    drawn = weight.detach().clone()
    means = class_means(network, data, PIXELS)
    assert set_rows(head, means) == 3
    assert torch.equal(weight[3 * centers :], drawn[3 * centers :])  # the class without images
    network.eval()
    x = torch.stack([torch.from_numpy(data[i]) for i in range(9)]).permute(0, 3, 1, 2)
    with torch.no_grad():
        cosines = nn.functional.normalize(network((x.float() - 127.5) / 127.5)) @ (
            nn.functional.normalize(weight).T
        )
    predicted = cosines.view(9, 4, centers).amax(2).argmax(1)
    assert (predicted.numpy() == data.labels).mean() > 0.8
    torch.testing.assert_close(weight[0].norm(), torch.tensor(0.01 * 4.0))
    if centers > 1:
        assert (weight[0] != weight[1]).any()


def test_shard_of_rows():
    head = SimpleNamespace(weight=nn.Parameter(torch.zeros(2, 3)), formula=object())
    means = nn.functional.normalize(torch.randn(5, 3))
    set_rows(head, means[2:4])
    torch.testing.assert_close(nn.functional.normalize(head.weight.detach()), means[2:4])
    with pytest.raises(FrfwError, match="class means"):
        set_rows(head, means[4:])


def test_head_choice():
    data = Data()
    same = {"data": {"fingerprint": "f", "classes": 4}}
    other = {"data": {"fingerprint": "g", "classes": 9}}
    assert choose_head("auto", same, data) == "keep"
    assert choose_head("auto", other, data) == "means"
    assert choose_head("auto", None, data) == "means"
    assert choose_head("random", same, data) == "random"
    with pytest.raises(FrfwError, match="9 classes, the data 4"):
        choose_head("keep", other, data)
    with pytest.raises(FrfwError, match=r"finetune\.head=mean:"):
        choose_head("mean", None, data)


def test_warmup_reaches_the_losses_own_values_and_stays():
    formula = create_formula("arcface", s=64.0, m=0.5)
    warmup = LossWarmup(formula, {"m": 0.0, "s": 32.0}, steps=4)
    seen = []
    for step in range(6):
        warmup.set(step)
        seen.append((formula.m, formula.s))
    assert seen == [(0.0, 32.0), (0.125, 40.0), (0.25, 48.0), (0.375, 56.0)] + [(0.5, 64.0)] * 2
    warmup.set(1)  # a function of the step alone
    assert formula.m == 0.125


def test_warmup_changes_the_target():
    formula = create_formula("cosface", m=0.4)
    samples = SimpleNamespace(cos=torch.tensor([0.5]))
    LossWarmup(formula, {"m": 0.0}, steps=10).set(5)
    torch.testing.assert_close(formula.target(samples), torch.tensor([0.3]))


def test_warmup_of_a_missing_number():
    with pytest.raises(FrfwError, match=r"no number 'm' to warm up \(it has s\)"):
        LossWarmup(create_formula("softmax"), {"m": 0.0}, steps=10)


@pytest.mark.parametrize("kind", ["cosine", "l2"])
def test_pull_is_zero_at_the_start_and_draws_back(kind):
    network = net().eval()
    pull = Pull(network, kind, weight=2.0)
    x = torch.randn(4, 3, 32, 32)
    assert pull(x, network(x)).abs() < 1e-6
    with torch.no_grad():
        network.fc.weight.add_(0.05 * torch.randn_like(network.fc.weight))
    optimizer = torch.optim.SGD([network.fc.weight], lr=0.005)
    first = pull(x, network(x))
    for _ in range(20):
        optimizer.zero_grad()
        pull(x, network(x)).backward()
        optimizer.step()
    assert pull(x, network(x)) < 0.9 * first
    assert all(p.grad is None for p in pull.initial.parameters())


def test_pull_values_by_hand():
    class Fixed(nn.Linear):
        def forward(self, x):
            return torch.tensor([[1.0, 0.0], [0.0, 2.0]])

    e = torch.tensor([[0.0, 3.0], [0.0, 1.0]])
    assert Pull(Fixed(1, 1), "cosine", 2.0)(e, e).item() == pytest.approx(2 * (1 + 0) / 2)
    assert Pull(Fixed(1, 1), "l2", 2.0)(e, e).item() == pytest.approx(2 * (1 + 9 + 0 + 1) / 4)


def test_configs_have_all_keys_and_the_neutral_values():
    from omegaconf import OmegaConf

    from frfw.config import config_dir

    none = OmegaConf.to_container(OmegaConf.load(config_dir() / "finetune" / "none.yaml"))
    assert none == DEFAULTS
    default = OmegaConf.to_container(OmegaConf.load(config_dir() / "finetune" / "default.yaml"))
    default.pop("defaults")
    assert default.keys() <= DEFAULTS.keys()
    FineTuning({**none, **default}, None)


def test_unknown_key_names_the_nearest():
    with pytest.raises(FrfwError, match=r"no finetune.frezee.*'freeze'"):
        FineTuning({"frezee": "stem"}, None)


def test_pull_without_weights_is_refused():
    with pytest.raises(FrfwError, match="init_from"):
        FineTuning({"pull": "cosine"}, None).prepare(net())


def test_before_after_table():
    def curve(steps, values):
        return SimpleNamespace(steps=np.array(steps), values=np.array(values))

    curves = {
        "val/lfw/accuracy": curve([0, 10, 20], [0.6, 0.65, 0.7025]),
        "val/old/accuracy": curve([0, 20], [0.9, 0.885]),
        "val/late/accuracy": curve([10, 20], [0.5, 0.6]),
        "val/lfw/auc": curve([0, 20], [0.5, 0.6]),
        "train/loss": curve([1, 20], [30.0, 3.0]),
    }
    lines = before_after(curves)
    assert len(lines) == 3
    assert lines[1].split() == ["lfw", "60.00%", "70.25%", "+10.25"]
    assert lines[2].split() == ["old", "90.00%", "88.50%", "-1.50"]
    assert before_after({"train/loss": curves["train/loss"]}) == []
