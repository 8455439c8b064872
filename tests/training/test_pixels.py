"""Training and the shipped network must see the same pixels, whatever the channel order."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from frfw.data import Preprocessing
from frfw.embedder import Embedder
from frfw.training.distributed import Ranks
from frfw.training.model import FaceModel


@pytest.mark.parametrize("channels", ["rgb", "bgr"])
def test_training_sees_what_the_embedder_sees(channels, tmp_path):
    how = Preprocessing(size=4, channels=channels, mean=100.0, std=50.0)
    images = torch.randint(256, (2, 3, 4, 4), dtype=torch.uint8)
    device = torch.device("cpu")
    model = FaceModel(nn.Flatten(), None, None, 1.0, Ranks())
    embedder = Embedder(nn.Flatten(), how, {}, 2, tmp_path, device)
    expected = (images.float() - 100) / 50
    if channels == "bgr":
        expected = expected[:, [2, 1, 0]]
    assert torch.equal(model.pixels(images, how), expected)
    assert torch.equal(embedder.forward(images), expected.flatten(1))
