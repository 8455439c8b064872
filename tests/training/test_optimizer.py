import pytest
import torch
from torch import nn

from frfw.errors import FrfwError
from frfw.training.guards import StepGuard, clip_, global_norm
from frfw.training.optimizer import create_optimizer, decay_groups, scaled_lr


def net():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.PReLU(4), nn.Flatten())


def test_norms_biases_and_prelu_have_no_decay():
    module = net()
    decayed, plain = decay_groups(module, 0.1)
    assert decayed["params"] == [module[0].weight]
    assert decayed["weight_decay"] == 0.1
    assert plain["weight_decay"] == 0
    assert len(plain["params"]) == 4


def test_lr_grows_with_the_batch():
    assert scaled_lr(0.1, 512, 128) == pytest.approx(0.025)


def test_unknown_optimizer_and_option():
    groups = decay_groups(net(), 0.1)
    with pytest.raises(FrfwError, match="Did you mean 'adamw'"):
        create_optimizer("adamv", groups, 0.1)
    with pytest.raises(FrfwError, match="betas"):
        create_optimizer("sgd", groups, 0.1, betas=[0.9, 0.99])


@pytest.fixture
def dirty_memory(monkeypatch):
    """New memory holds NaN, as it may where it was used before."""
    monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", True)
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.usefixtures("dirty_memory")
@pytest.mark.parametrize(
    ("name", "options"), [("sgd", {"momentum": 0.9}), ("sgd", {}), ("adamw", {})]
)
def test_a_step_with_found_inf_changes_nothing(name, options):
    module = net()
    optimizer = create_optimizer(name, decay_groups(module, 0.1), 0.1, **options)
    before = [p.clone() for p in module.parameters()]
    for p in module.parameters():
        p.grad = torch.full_like(p, float("nan"))
    optimizer.found_inf = torch.tensor(1.0)
    optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(before, module.parameters()))
    for p in module.parameters():
        p.grad = torch.ones_like(p)
    optimizer.found_inf = torch.tensor(0.0)
    optimizer.step()
    assert all(torch.isfinite(p).all() for p in module.parameters())
    assert not any(torch.equal(a, b) for a, b in zip(before, module.parameters()))


def test_clipping_uses_the_global_norm():
    gradients = [torch.full((4,), 3.0), torch.full((3,), -4.0)]
    norm, bad = global_norm(gradients, [], torch.tensor(1.0), None)
    assert bad == 0
    assert norm.item() == pytest.approx((9 * 4 + 16 * 3) ** 0.5)
    clip_(gradients, norm, 1.0)
    again = global_norm(gradients, [], torch.tensor(1.0), None)[0]
    assert again.item() == pytest.approx(1.0, rel=1e-5)


def test_guard_puts_buffers_back_and_counts():
    module = nn.BatchNorm1d(2)
    guard = StepGuard([module], torch.device("cpu"))
    for bad in (0.0, 1.0, 1.0):
        guard.begin()
        before = module.running_mean.clone()
        module(torch.randn(8, 2) + 5)
        guard.end(torch.tensor(bad))
        assert torch.equal(before, module.running_mean) == bool(bad)
    assert (int(guard.skipped), int(guard.streak)) == (2, 2)


def test_guard_puts_buffers_of_all_types_and_sizes_back():
    module = nn.Module()
    for name, value in {
        "a": torch.randn(3, 4),
        "large": torch.randn(300, 400).T,
        "count": torch.tensor(3),
        "b": torch.randn(()),
        "wide": torch.randn(2, dtype=torch.float64),
    }.items():
        module.register_buffer(name, value)
    guard = StepGuard([module], torch.device("cpu"))
    before = {name: value.clone() for name, value in module.named_buffers()}
    for bad in (1.0, 0.0):
        guard.begin()
        for value in module.buffers():
            value.add_(7)
        guard.end(torch.tensor(bad))
        for name, value in module.named_buffers():
            assert torch.equal(value, before[name] if bad else before[name] + 7)


def test_a_loss_or_a_gradient_that_is_not_finite_is_found():
    good, bad = torch.ones(3), torch.tensor([1.0, float("inf")])
    one, nan = torch.tensor(1.0), torch.tensor(float("nan"))
    assert global_norm([good], [], nan, None)[1] == 1
    assert global_norm([good], [bad], one, None)[1] == 1
    assert global_norm([bad], [], one, None)[1] == 1
    assert global_norm([good], [good], one, None)[1] == 0
