"""Any timm model as a face backbone: its features, then BN-dropout-FC-BN."""

from __future__ import annotations

import timm
import torch
from timm.models import group_modules
from torch import Tensor, nn

from frfw.backbones.common import Size, check_input, height_width, project
from frfw.errors import FrfwError, nearest

POOLINGS = ("auto", "flatten", "model")


class TimmBackbone(nn.Module):
    """(B, 3, H, W) RGB in [-1, 1] -> (B, embedding_dim) float32, not normalised.

    Args:
        model: a name that `timm.create_model` knows.
        embedding_dim, input_size, dropout: as for `IResNet`.
        pooling: `flatten` gives every place of the feature map its own weights in the FC layer
            (ArcFace's output "E"), `model` pools as the timm model does; `auto` flattens a map
            of at most 8 x 8, and pools token models and those with layers after the pooling.
        pretrained: start from timm's published weights (downloads them). They were trained with
            another scaling of the input, so the first epochs adapt the network to ours.
        drop_path: stochastic depth rate, for models that have it.

    Raises:
        FrfwError: unknown model, or the model cannot take this input size or option.
    """

    def __init__(
        self,
        model: str,
        embedding_dim: int = 512,
        input_size: Size = 112,
        dropout: float = 0.0,
        pooling: str = "auto",
        pretrained: bool = False,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        self.embedding_dim, self.input_size = embedding_dim, input_size
        if pooling not in POOLINGS:
            raise FrfwError(f"timm pooling '{pooling}' is none of {', '.join(POOLINGS)}")
        self.model = _create(model, height_width(input_size), pretrained, drop_path)
        self._last = getattr(self.model, "output_fmt", None) == "NHWC"
        try:
            shape, pooled = self._probe()
        except (RuntimeError, AssertionError, ValueError, IndexError) as error:
            reason = " ".join(str(error).split())[:200]
            raise FrfwError(
                f"timm/{model} cannot take input_size {input_size}: {reason}"
            ) from error
        if pooling == "flatten" and len(shape) != 4:
            raise FrfwError(f"timm/{model} has no feature map to flatten: use pooling=model")
        plain = len(shape) == 4 and max(shape[2:]) <= 8 and shape[1] == pooled
        self.flatten = pooling == "flatten" or (pooling == "auto" and plain)
        self.norm = nn.BatchNorm2d(shape[1]) if self.flatten else nn.BatchNorm1d(pooled)
        self.dropout = nn.Dropout(dropout)
        inputs = shape[1] * shape[2] * shape[3] if self.flatten else pooled
        self.fc = nn.Linear(inputs, embedding_dim)
        self.features = nn.BatchNorm1d(embedding_dim)
        self.features.weight.requires_grad = False  # as in IResNet
        self._freeze_unused()
        self.input_convolution = self._first_convolution()
        self.stages = self._stages()

    def _map(self, x: Tensor) -> Tensor:
        x = self.model.forward_features(x)
        return x.permute(0, 3, 1, 2) if self._last and x.ndim == 4 else x

    def _sample(self) -> Tensor:
        device = next(self.model.parameters()).device
        return torch.zeros(1, 3, *height_width(self.input_size), device=device)

    @torch.no_grad()
    def _probe(self) -> tuple[tuple[int, ...], int]:
        """Return the shape of the feature map (or tokens), and the width after pooling."""
        self.model.eval()
        x = self._sample()
        shape = tuple(self._map(x).shape)
        pooled = self.model.forward_head(self.model.forward_features(x), pre_logits=True)
        self.model.train()
        return shape, pooled.shape[-1]

    def _freeze_unused(self) -> None:
        # Flattening skips the model's own head; DDP refuses parameters that get no gradient.
        self.eval()
        self(self._sample()).sum().backward()
        for parameter in self.parameters():
            if parameter.grad is None:
                parameter.requires_grad = False
            parameter.grad = None
        self.train()

    def _first_convolution(self) -> str | None:
        for name, module in self.named_modules():
            if isinstance(module, nn.Conv2d) and module.in_channels == 3:
                return f"{name}.weight"
        return None

    def _stages(self) -> dict[str, tuple[str, ...]]:
        try:
            groups = group_modules(self.model, self.model.group_matcher(coarse=True))
        except (AttributeError, TypeError):  # a model that does not say how it is staged
            groups = {0: [""]}
        stages = {
            "stem" if i == 0 else f"layer{i}": tuple(f"model.{m}".rstrip(".") for m in modules)
            for i, modules in enumerate(groups.values())
        }
        return {**stages, "embedding": ("norm", "fc", "features")}

    def forward(self, x: Tensor) -> Tensor:
        check_input(x, self.input_size)
        if self.flatten:
            x = self.norm(self._map(x)).flatten(1)
        else:
            x = self.model.forward_features(x)
            x = self.norm(self.model.forward_head(x, pre_logits=True))
        return self.features(project(self.fc, self.dropout(x)))


def _create(name: str, size: tuple[int, int], pretrained: bool, drop_path: float) -> nn.Module:
    if not timm.is_model(name):
        close = nearest(f"timm/{name}", [f"timm/{m}" for m in timm.list_models()])
        raise FrfwError(f"timm {timm.__version__} has no model '{name}'.{close}")
    options: dict = {"drop_path_rate": drop_path} if drop_path else {}
    described = timm.get_pretrained_cfg(name)
    if described is not None and described.fixed_input_size:
        options["img_size"] = size  # models with position embeddings or windows must know it
    try:
        return timm.create_model(name, pretrained=pretrained, num_classes=0, **options)
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise FrfwError(
            f"timm could not create '{name}' with {options or 'no options'}"
            f"{' and published weights' if pretrained else ''}: {reason}"
        ) from error
