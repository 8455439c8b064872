"""The vectorised rasteriser against a loop over triangles and pixels."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from frfw.data.synthetic.raster import rasterise


def by_hand(points, depth, triangles, two_sided, size):
    """(size * size,) nearest depth, -inf where nothing is."""
    found = np.full(size * size, -np.inf)
    for (a, b, c), both in zip(triangles, two_sided):
        pa, pb, pc = (points[k].astype(float) for k in (a, b, c))
        area = (pb[0] - pa[0]) * (pc[1] - pa[1]) - (pb[1] - pa[1]) * (pc[0] - pa[0])
        if abs(area) < 1e-6 or (area < 0 and not both):
            continue
        for y in range(size):
            for x in range(size):
                p = np.array([x + 0.5, y + 0.5])
                w1 = ((p - pa)[0] * (pc - pa)[1] - (p - pa)[1] * (pc - pa)[0]) / area
                w2 = ((pb - pa)[0] * (p - pa)[1] - (pb - pa)[1] * (p - pa)[0]) / area
                if min(w1, w2, 1 - w1 - w2) >= 0:
                    z = depth[a] + w1 * (depth[b] - depth[a]) + w2 * (depth[c] - depth[a])
                    found[y * size + x] = max(found[y * size + x], z)
    return found


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 8), st.booleans())
def test_equals_a_loop(seed, count, flat):
    rng, size = np.random.default_rng(seed), 12
    points = rng.uniform(-4, 16, (3 * count, 2)).astype(np.float32)
    depth = rng.uniform(-5, 5, 3 * count).astype(np.float32)
    if flat:
        depth = np.repeat(depth[::3], 3)
    triangles = np.arange(3 * count, dtype=np.int32).reshape(-1, 3)
    two_sided = rng.random(count) < 0.5
    expected = by_hand(points, depth, triangles, two_sided, size)
    seen = rasterise(points, depth, triangles, two_sided, size)
    found = np.full(size * size, -np.inf)
    found[seen.pixel] = seen.depth
    # Depth has 16 bits over its range; a pixel centre on an edge may fall to either side.
    agree = np.isclose(found, expected, atol=1e-3) | (found == expected)
    assert agree.mean() >= 0.97
    if len(seen.pixel):
        assert len(np.unique(seen.pixel)) == len(seen.pixel)
        np.testing.assert_allclose(seen.weights.sum(0), 1, atol=1e-5)
        np.testing.assert_allclose(seen.interpolate(depth[:, None])[:, 0], seen.depth, atol=1e-3)


def test_nothing_in_sight():
    points = np.array([(-9, -9), (-8, -9), (-9, -8)], np.float32)
    seen = rasterise(points, np.zeros(3, np.float32), np.array([[0, 1, 2]]), np.zeros(1, bool), 8)
    assert len(seen.pixel) == 0


def test_a_triangle_between_pixel_centres():
    points = np.array([(3.6, 3.6), (4.4, 3.6), (3.6, 4.4)], np.float32)
    seen = rasterise(points, np.zeros(3, np.float32), np.array([[0, 1, 2]]), np.ones(1, bool), 8)
    assert len(seen.pixel) == 0
