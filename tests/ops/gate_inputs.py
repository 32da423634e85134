"""Random inputs of both gates, and the paper's equations by autograd's own operators."""

import torch
import torch.nn.functional as F

NAMES = ("x", "φ", "θ", "ψ", "b")


def gate_inputs(
    size, stride, *, grid=False, channels=5, inner=3, batch=2, dtype=torch.float64, seed=0
):
    """x, φ, θ, ψ, b; θ of the skip form `[F, C]`, of the grid form `[F, C, *stride]`."""
    generator = torch.Generator().manual_seed(seed)
    coarse = [-(-n // step) for n, step in zip(size, stride, strict=True)]

    def random(*shape, scale=1.0):
        drawn = torch.randn(*shape, generator=generator, dtype=torch.float64)
        return (drawn * scale).to(dtype)

    kernel = stride if grid else ()
    return [
        random(batch, channels, *size),
        random(batch, inner, *coarse),
        random(inner, channels, *kernel, scale=channels**-0.5),
        random(inner),
        random(1),
    ]


def gradients_for(x, *, seed=1):
    """What comes from outside: gradients of y and α."""
    generator = torch.Generator().manual_seed(seed)
    shapes = [x.shape, (x.shape[0], 1, *x.shape[2:])]
    drawn = [torch.randn(*s, generator=generator, dtype=torch.float64) for s in shapes]
    return [one.to(x.device, x.dtype) for one in drawn]


def interpolated(coarse, stride, size, mode):
    """`F.interpolate(scale_factor=stride)` cropped to `size`."""
    name = mode if mode == "nearest" else {2: "bilinear", 3: "trilinear"}[len(stride)]
    corners = {} if mode == "nearest" else {"align_corners": False}
    scale = [float(step) for step in stride]
    up = F.interpolate(coarse, scale_factor=scale, mode=name, **corners)
    return up[(..., *(slice(0, n) for n in size))]


def skip_equations(x, phi, theta_weight, psi_weight, psi_bias, stride, mode="linear"):
    """Equations 1 and 2 of the paper on x's grid, term by term."""
    conv, ones = _conv(stride), [1] * len(stride)
    theta = conv(x, theta_weight.reshape(*theta_weight.shape, *ones))
    inner = F.relu(theta + interpolated(phi, stride, x.shape[2:], mode))
    alpha = torch.sigmoid(conv(inner, psi_weight.reshape(1, -1, *ones), psi_bias))
    return x * alpha, alpha


def grid_equations(x, phi, theta_weight, psi_weight, psi_bias, mode="linear"):
    """The same on g's grid: x padded with zeros, W_x strided, α upsampled."""
    stride = theta_weight.shape[2:]
    conv, ones = _conv(stride), [1] * len(stride)
    missing = [(0, -n % step) for n, step in zip(x.shape[2:], stride, strict=True)]
    padded = F.pad(x, [amount for pair in reversed(missing) for amount in pair])
    inner = F.relu(conv(padded, theta_weight, stride=stride) + phi)
    coarse = torch.sigmoid(conv(inner, psi_weight.reshape(1, -1, *ones), psi_bias))
    alpha = interpolated(coarse, stride, x.shape[2:], mode)
    return x * alpha, alpha


def _conv(stride):
    return F.conv2d if len(stride) == 2 else F.conv3d
