# SPDX-License-Identifier: Apache-2.0
"""Losses of teacher and distillation, on latents [B, F, c, h, w]. Formulas: arXiv 2603.09488, section 3."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from dd_ros.diffusion.path import velocity_weight
from dd_ros.model.transformer import Denoised

EPSILON = 1e-6
ERROR_FLOOR = 1e-4  # of pixels in [-1, 1] that is 46 dB
COARSE = 16  # pixels of a side that colours are averaged over
COLOUR_FLOOR = 1e-6  # an eighth of a grey level
COLOUR_WEIGHT = 0.3
WINDOW = 7  # pixels of a side that structural similarity compares
SSIM_FLOOR = 1e-3  # a similarity of 0.999


def differences(latents: Tensor) -> Tensor:
    """Temporal differences d(x)[t] = x[t+1] - x[t] along dimension 1."""
    return latents[:, 1:] - latents[:, :-1]


def flow_matching(result: Denoised, clean: Tensor, levels: Tensor) -> Tensor:
    """Squared error of the velocity, mean over everything; ``levels`` [B, F]."""
    error = (result.latents - clean).square().mean(dim=(-3, -2, -1))
    return (velocity_weight(levels) * error).mean()


def uncertainty(result: Denoised, clean: Tensor) -> Tensor:
    """Gaussian likelihood of the error under the predicted log-variance, which alone it trains."""
    error = (result.latents.detach() - clean).square().mean(dim=2)
    rows, columns = result.log_variance.shape[-2:]
    patch = error.shape[-1] // columns
    per_token = error.unflatten(-2, (rows, patch)).unflatten(-1, (columns, patch)).mean(dim=(-3, -1))
    log_variance = result.log_variance
    return 0.5 * (log_variance + per_token * (-log_variance).exp()).mean()


def score_difference(fake: Tensor, real: Tensor, reference: Tensor) -> Tensor:
    """Gradient of the distribution-matching loss: (fake - real) / mean |reference - real| per clip.

    ``fake`` and ``real`` are the two scores' estimates of the clean ``reference`` from one noised
    copy of it; all [B, F, c, h, w]. No gradient flows through the result.
    """
    with torch.no_grad():
        scale = (reference - real).abs().mean(dim=(1, 2, 3, 4), keepdim=True)
        return torch.nan_to_num((fake - real) / (scale + EPSILON))


def towards(value: Tensor, gradient: Tensor, weight: Tensor | float = 1.0) -> Tensor:
    """Loss whose gradient by ``value`` is proportional to ``gradient``: mean w (v - sg(v - g))^2."""
    return (weight * (value - (value - gradient).detach()).square()).mean()


def distribution_matching(generated: Tensor, fake: Tensor, real: Tensor) -> Tensor:
    """L = 0.5 mean (x - sg(x - g))^2 with the normalised score difference g."""
    return 0.5 * towards(generated, score_difference(fake, real, generated))


def motion_matching(generated: Tensor, fake: Tensor, real: Tensor) -> Tensor:
    """Flow Distribution Matching: the same on temporal differences, later frames weighing more.

    L = mean w (d(x) - sg(d(x) - g_m))^2, g_m the normalised difference of the scores' temporal
    differences, w growing linearly from 1 to 2 along the clip. Unlike in the first release of the
    method, d(x) carries the gradient.
    """
    motion = differences(generated)
    gradient = score_difference(differences(fake), differences(real), motion)
    weight = torch.linspace(1.0, 2.0, motion.shape[1], device=motion.device)[:, None, None, None]
    return towards(motion, gradient, weight / weight.mean())


def regression(generated: Tensor, logged: Tensor, floor: float = ERROR_FLOOR) -> Tensor:
    """Log error against the ``logged`` latents, of frames and of their temporal differences, as ``log_error``."""
    return log_error(generated, logged, floor) + log_error(differences(generated), differences(logged), floor)


def log_error(values: Tensor, logged: Tensor, floor: float = ERROR_FLOOR) -> Tensor:
    """Logarithm of each frame's mean squared error, [B, F, ...], mean over clips and frames.

    A decibel counts as much in an easy frame as in a hard one, so that early frames, in which little
    moves, are not drowned by late ones. Both are latents, or pixels in [-1, 1]. Nothing is gained by an
    error below ``floor``.
    """
    error = (values.float() - logged).square().flatten(2).mean(dim=-1)
    return (error + floor).log().mean()


def image_error(images: Tensor, logged: Tensor) -> Tensor:
    """Log error of images [B, F, 3, H, W] in [-1, 1], and of their colours at large.

    A tint of half a grey level costs nothing in an image, but long rollouts on own output add it up; and squared
    errors are smallest for the blur of two colours where it is not known which of them comes: paler than both.
    """
    (tint, saturation), (true_tint, true_saturation) = colours(images), colours(logged)
    at_large = log_error(tint, true_tint, COLOUR_FLOOR) + log_error(saturation, true_saturation, COLOUR_FLOOR)
    return log_error(images, logged) + COLOUR_WEIGHT * at_large


def colours(images: Tensor) -> tuple[Tensor, Tensor]:
    """Tint and saturation of squares of COARSE pixels: means of R, G and B, and of the largest less the smallest.

    [B, F, 3, H, W] -> [B, F, 3, H / COARSE, W / COARSE] and [B, F, 1, ...], rounded down.
    """
    flat = images.flatten(0, 1).float()
    saturation = flat.amax(dim=1, keepdim=True) - flat.amin(dim=1, keepdim=True)
    coarse = F.avg_pool2d(torch.cat((flat, saturation), dim=1), COARSE).unflatten(0, images.shape[:2])
    return coarse[:, :, :3], coarse[:, :, 3:]


def ssim_error(images: Tensor, logged: Tensor) -> Tensor:
    """Logarithm of each image's 1 - SSIM, [B, F, 3, H, W] in [-1, 1], mean over clips and frames.

    Squared errors hardly notice that faint texture is lost; structural similarity (Wang et al. 2004,
    section III.B; even windows of ``WINDOW`` pixels, each colour by itself) compares it to its own contrast.
    """
    a, b = images.flatten(0, 1).float(), logged.flatten(0, 1)
    products = torch.cat((a, b, a * a, b * b, a * b), dim=1)
    mean_a, mean_b, aa, bb, ab = window_means(products).chunk(5, dim=1)
    means, squares = mean_a * mean_b, mean_a.square() + mean_b.square()
    covariance, variances = ab - means, (aa + bb - squares).clamp_min(0.0)
    steady_mean, steady_contrast = (2.0 * 0.01) ** 2, (2.0 * 0.03) ** 2  # of a range of 2
    similarity = (
        (2.0 * means + steady_mean) * (2.0 * covariance + steady_contrast)
        / ((squares + steady_mean) * (variances + steady_contrast))
    )  # fmt: skip
    return (1.0 - similarity.mean(dim=(1, 2, 3)) + SSIM_FLOOR).log().mean()


def window_means(values: Tensor) -> Tensor:
    """Mean of every window, float32 [N, c, H, W] -> [N, c, H - WINDOW + 1, W - WINDOW + 1].

    A convolution, as pooling takes eight times as long on a CPU; never in bfloat16, as variances are differences.
    """
    channels = values.shape[1]
    window = values.new_full((channels, 1, WINDOW, WINDOW), 1.0 / WINDOW**2)
    with torch.autocast(values.device.type, enabled=False):
        return F.conv2d(values, window, groups=channels)
