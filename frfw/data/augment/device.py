"""The same presets on whole batches where the images are, from the same plan.

Blur and change of resolution are linear along rows and columns, so each is a matrix a sample,
built by OpenCV from the identity, and a batched product applies it. JPEG is its own arithmetic:
8x8 cosine transform and quantisation by the tables of the standard (ITU-T T.81, annex K) with
half-size colour, without entropy coding.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torchvision.transforms.v2 import functional as v2

from frfw.data.augment.cpu import INTERPOLATIONS
from frfw.data.augment.occluders import occluders
from frfw.data.augment.plan import Plan, draw_plan
from frfw.data.augment.strengths import Strengths

_LUMA = np.array(
    [
        [16, 11, 10, 16, 24, 40, 51, 61],
        [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77],
        [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101],
        [72, 92, 95, 98, 112, 100, 103, 99],
    ],
    np.float32,
)
_CHROMA = np.full((8, 8), 99, np.float32)
_CHROMA[:4, :4] = [[17, 18, 24, 47], [18, 21, 26, 66], [24, 26, 56, 99], [47, 66, 99, 99]]
_YCC = np.array(
    [[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]], np.float32
)


class DeviceAugment:
    """A preset for batches: (m, 3, S, S) uint8 on any device and (m,) int64 keys on the CPU."""

    def __init__(self, strengths: Strengths) -> None:
        self.strengths = strengths

    def __call__(self, images: Tensor, keys: Tensor) -> Tensor:
        """Return the augmented batch, uint8 on the same device; `keys` are `Batch.keys`."""
        plan = draw_plan(self.strengths, keys.numpy().view(np.uint64), images.shape[-1])
        flip = torch.from_numpy(plan.flip).to(images.device)[:, None, None, None]
        images = torch.where(flip, v2.horizontal_flip(images), images)
        rows = np.flatnonzero(~plan.plain)
        if len(rows):
            where = torch.from_numpy(rows).to(images.device)
            changed = _change(images[where].float(), plan, rows)
            images = images.index_copy(0, where, changed.round_().clamp_(0, 255).to(torch.uint8))
        return images


def _change(x: Tensor, plan: Plan, rows: np.ndarray) -> Tensor:
    """Everything but the flip, in the order of the CPU version, on (k, 3, S, S) float 0..255."""
    x = _light(_geometry(x, plan, rows), plan, rows)
    x = _filter(x, *_blurs(plan, rows, x.shape[-1]))
    resized = _resizes(plan, rows, x.shape[-1])
    x = _filter(x, resized, resized).clamp_(0, 255)
    x = _noise(x, plan, rows)
    return _jpeg(x, plan.quality[rows])


def _column(values: np.ndarray, x: Tensor) -> Tensor:
    return torch.from_numpy(np.asarray(values, np.float32)).to(x.device)[:, None, None, None]


def _geometry(x: Tensor, plan: Plan, rows: np.ndarray) -> Tensor:
    size = x.shape[-1]
    for at in np.flatnonzero(plan.cover[rows] >= 0).tolist():
        row = rows[at]
        down, right = plan.cover_shift[row].tolist()
        shift = np.array([[1, 0, right], [0, 1, down]], np.float32)
        alpha = cv2.warpAffine(occluders(size)[plan.cover[row]], shift, (size, size))
        alpha = torch.from_numpy(alpha).to(x.device)
        colour = torch.from_numpy(plan.cover_colour[row]).to(x)[:, None, None]
        x[at] = x[at] * (1 - alpha) + colour * alpha
    place = torch.arange(size, device=x.device)
    top, bottom, left, right = torch.from_numpy(plan.crop[rows]).to(x.device).T[..., None]
    kept_rows, kept_columns = (place >= top) & (place < bottom), (place >= left) & (place < right)
    return x * (kept_rows[:, None, :, None] & kept_columns[:, None, None, :])


def _light(x: Tensor, plan: Plan, rows: np.ndarray) -> Tensor:
    x = (x * _column(plan.brightness[rows], x)).clamp_(0, 255)
    contrast, saturation = _column(plan.contrast[rows], x), _column(plan.saturation[rows], x)
    mean = v2.rgb_to_grayscale(x).mean((1, 2, 3), keepdim=True)
    x = (contrast * x + (1 - contrast) * mean).clamp_(0, 255)
    x = (saturation * x + (1 - saturation) * v2.rgb_to_grayscale(x)).clamp_(0, 255)
    return _column(plan.gain[rows], x) * 255 * (x / 255) ** _column(plan.gamma[rows], x)


def _filter(x: Tensor, down: np.ndarray | None, across: np.ndarray | None) -> Tensor:
    """Apply (k, S, S) matrices along columns and along rows; None for nothing to do."""
    if down is None or across is None:
        return x
    left, right = (torch.from_numpy(m).to(x.device)[:, None] for m in (down, across))
    return left @ x @ right.transpose(2, 3)


def _blurs(plan: Plan, rows: np.ndarray, size: int) -> tuple[np.ndarray, ...] | tuple[None, None]:
    if not (plan.sigma[rows].any() or plan.motion[rows].any()):
        return None, None
    eye = np.eye(size, dtype=np.float32)
    down, across = np.tile(eye, (len(rows), 1, 1)), np.tile(eye, (len(rows), 1, 1))
    for at, row in enumerate(rows.tolist()):
        sigma, length = float(plan.sigma[row]), int(plan.motion[row])
        if sigma:
            kernel = cv2.getGaussianKernel(round(6 * sigma + 1) | 1, sigma)
            down[at] = across[at] = _columns(eye, kernel)
        elif length > 1:
            smear = cv2.blur(eye, (1, length))
            (down if plan.motion_down[row] else across)[at] = smear
    return down, across


def _columns(eye: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    return cv2.sepFilter2D(eye, -1, np.ones(1, np.float32), kernel.astype(np.float32))


def _resizes(plan: Plan, rows: np.ndarray, size: int) -> np.ndarray | None:
    if not plan.low_side[rows].any():
        return None
    eye = np.eye(size, dtype=np.float32)
    found = np.tile(eye, (len(rows), 1, 1))
    for at, row in enumerate(rows.tolist()):
        side = int(plan.low_side[row])
        if side:
            down, up = INTERPOLATIONS[plan.low_down[row]], INTERPOLATIONS[plan.low_up[row]]
            small = cv2.resize(eye, (size, side), interpolation=down)
            found[at] = cv2.resize(small, (size, size), interpolation=up)
    return found


def _noise(x: Tensor, plan: Plan, rows: np.ndarray) -> Tensor:
    generator = torch.Generator(device=x.device)
    for at in np.flatnonzero(plan.noise[rows]).tolist():
        generator.manual_seed(int(plan.noise_seed[rows[at]]))
        drawn = torch.randn(x.shape[1:], generator=generator, device=x.device)
        x[at] += drawn * float(plan.noise[rows[at]])
    return x.clamp_(0, 255)


def _jpeg(x: Tensor, quality: np.ndarray) -> Tensor:
    """Quantise (k, 3, S, S) as JPEG of each sample's quality does; quality 0 leaves it."""
    chosen = np.flatnonzero(quality)
    if not len(chosen):
        return x
    where = torch.from_numpy(chosen).to(x.device)
    q = quality[chosen].astype(np.float32)
    scale = np.where(q < 50, 5000 / np.maximum(q, 1), 200 - 2 * q)[:, None, None]
    size, pad = x.shape[-1], -x.shape[-1] % 16
    ycc = torch.einsum("cd,kdhw->kchw", torch.from_numpy(_YCC).to(x.device), x[where].round())
    ycc = functional.pad(ycc.round_(), (0, pad, 0, pad), mode="replicate")
    light = _quantise(ycc[:, :1] - 128, _LUMA, scale) + 128
    # Half-size colour, taken as averages (a half goes down and up in turn) and brought back by the
    # triangle filter, as libjpeg does.
    half = 4 * functional.avg_pool2d(ycc[:, 1:], 2)
    half += torch.tensor([1.0, 2.0], device=x.device).repeat(half.shape[-1] // 2)
    colour = _quantise(half.div_(4).floor_(), _CHROMA, scale)
    colour = functional.interpolate(colour, scale_factor=2, mode="bilinear", align_corners=False)
    ycc = torch.cat([light, colour], 1)[..., :size, :size]
    back = torch.from_numpy(np.linalg.inv(_YCC).astype(np.float32)).to(x.device)
    return x.index_copy(0, where, torch.einsum("cd,kdhw->kchw", back, ycc))


def _quantise(planes: Tensor, table: np.ndarray, scale: np.ndarray) -> Tensor:
    """Quantise the spectrum of each 8x8 block of (k, c, H, W); table (8, 8), scale (k, 1, 1)."""
    steps = np.clip(np.floor((table * scale + 50) / 100), 1, 255).astype(np.float32)
    steps = torch.from_numpy(steps).to(planes.device)[:, None, None, None]
    blocks = planes.unfold(2, 8, 8).unfold(3, 8, 8)
    cosine = torch.from_numpy(_dct()).to(planes.device)
    spectrum = ((cosine @ blocks @ cosine.T) / steps).round_() * steps
    blocks = cosine.T @ spectrum @ cosine
    return blocks.transpose(3, 4).reshape(planes.shape).round_()


def _dct() -> np.ndarray:
    """Orthonormal 8-point cosine transform."""
    k, n = np.mgrid[:8, :8]
    matrix = np.cos(np.pi * k * (2 * n + 1) / 16) * np.sqrt(2 / 8)
    matrix[0] /= np.sqrt(2)
    return matrix.astype(np.float32)
