# SPDX-License-Identifier: Apache-2.0
"""The losses against slow NumPy references, and the gradients that the method stands on."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity
from torch import Tensor

from dd_ros.diffusion import path
from dd_ros.model.transformer import Denoised
from dd_ros_training import losses

SHAPE = (2, 5, 3, 4, 6)


def latents(seed: int) -> Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed))


def normalised(fake: np.ndarray, real: np.ndarray, value: np.ndarray) -> np.ndarray:
    gradient = np.empty_like(fake)
    for clip in range(len(fake)):
        gradient[clip] = (fake[clip] - real[clip]) / (
            np.abs(value[clip] - real[clip]).mean() + losses.EPSILON
        )
    return gradient


def test_motion_matching_alone_moves_the_frames() -> None:
    """The defect of the method's first release: there this term was a constant."""
    generated = latents(0).requires_grad_()
    losses.motion_matching(generated, latents(1), latents(2)).backward()
    assert generated.grad is not None
    assert (generated.grad.abs().amax(dim=(2, 3, 4)) > 0).all()


def test_motion_gradient_is_the_scores_difference_of_differences() -> None:
    generated, fake, real = latents(0).requires_grad_(), latents(1), latents(2)
    losses.motion_matching(generated, fake, real).backward()
    x, f, r = (value.detach().numpy().astype(np.float64) for value in (generated, fake, real))
    motion = np.diff(x, axis=1)
    gradient = normalised(np.diff(f, axis=1), np.diff(r, axis=1), motion)
    weight = np.linspace(1.0, 2.0, motion.shape[1])
    by_motion = 2.0 * (weight / weight.mean())[None, :, None, None, None] * gradient / motion.size
    expected = np.zeros_like(x)
    expected[:, 1:] += by_motion
    expected[:, :-1] -= by_motion
    assert np.allclose(generated.grad.numpy(), expected, atol=1e-7)


def test_distribution_matching_gradient() -> None:
    generated, fake, real = latents(0).requires_grad_(), latents(1), latents(2)
    losses.distribution_matching(generated, fake, real).backward()
    x, f, r = (value.detach().numpy().astype(np.float64) for value in (generated, fake, real))
    assert np.allclose(generated.grad.numpy(), normalised(f, r, x) / x.size, atol=1e-8)


def test_equal_scores_leave_the_student_alone() -> None:
    generated = latents(0).requires_grad_()
    losses.distribution_matching(generated, latents(1), latents(1)).backward()
    assert generated.grad.abs().max() == 0.0


def test_flow_matching_is_the_squared_error_of_the_velocity() -> None:
    clean, noise, estimate = latents(0), latents(1), latents(2)
    levels = torch.rand(SHAPE[:2]).clamp_min(path.SMALLEST_LEVEL)
    noisy = path.add_noise(clean, noise, levels)
    velocity = noise - clean
    estimated = (noisy - estimate) / path.per_frame(levels)
    expected = (velocity - estimated).square().mean()
    result = Denoised(estimate, torch.zeros(2, 5, 2, 3), [])
    assert torch.allclose(losses.flow_matching(result, clean, levels), expected, rtol=1e-4)


def test_uncertainty_is_smallest_at_the_true_error() -> None:
    clean, estimate = latents(0), latents(1)
    error = (
        (clean - estimate).square().mean(dim=2).unflatten(-2, (2, 2)).unflatten(-1, (3, 2)).mean(dim=(-3, -1))
    )
    best = losses.uncertainty(Denoised(estimate, error.log(), []), clean)
    for shift in (-0.3, 0.3):
        assert losses.uncertainty(Denoised(estimate, error.log() + shift, []), clean) > best


@pytest.mark.parametrize("level", [1.0, 0.5, 0.3571])
def test_a_step_with_the_true_clean_latents_stays_on_the_path(level: float) -> None:
    clean, noise = latents(0), latents(1)

    def at(s: float) -> Tensor:
        return path.add_noise(clean, noise, torch.full(SHAPE[:2], s))

    assert torch.allclose(path.step(at(level), clean, level, 0.1), at(0.1), atol=1e-5)


def test_the_error_of_pixels_counts_decibels() -> None:
    """An error ten times as large costs the same in a frame that is nearly right as in one that is not."""
    true = torch.zeros(1, 2, 3, 4, 6)
    error = torch.tensor([0.1, 1.0])[None, :, None, None, None].expand_as(true).clone().requires_grad_()
    loss = losses.log_error(error, true)
    expected = np.log(np.array([0.01, 1.0]) + losses.ERROR_FLOOR).mean()
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-5)
    loss.backward()
    gain = (error.grad * error.detach()).sum(dim=(0, 2, 3, 4))
    assert torch.allclose(gain[0], gain[1], rtol=0.02)


def test_a_high_floor_leaves_the_squared_error() -> None:
    generator = torch.Generator().manual_seed(0)
    logged = torch.randn(2, 5, 4, 3, 3, generator=generator)
    sizes = torch.randn(2, 5, 1, 1, 1, generator=generator)  # of the frames' errors: very different
    made = (logged + sizes * torch.randn(logged.shape, generator=generator)).requires_grad_()
    floor = 1e4
    (by_recipe,) = torch.autograd.grad(floor * losses.regression(made, logged, floor), made)
    moved = losses.differences(made) - losses.differences(logged)
    (squared,) = torch.autograd.grad((made - logged).square().mean() + moved.square().mean(), made)
    assert torch.allclose(by_recipe, squared, rtol=1e-2, atol=1e-6)


def test_colours_are_those_of_squares_and_how_strong_they_are() -> None:
    images = torch.rand(1, 2, 3, 35, 48, generator=torch.Generator().manual_seed(7)) * 2.0 - 1.0
    tint, saturation = losses.colours(images)
    assert tint.shape == (1, 2, 3, 2, 3)
    assert saturation.shape == (1, 2, 1, 2, 3)
    for row, column in np.ndindex(2, 3):
        square = images[0, :, :, 16 * row : 16 * row + 16, 16 * column : 16 * column + 16].numpy()
        strength = (square.max(axis=1) - square.min(axis=1)).mean(axis=(1, 2))
        assert np.allclose(tint[0, :, :, row, column], square.mean(axis=(2, 3)), atol=1e-6)
        assert np.allclose(saturation[0, :, 0, row, column], strength, atol=1e-6)


def test_what_a_blur_takes_from_colours_counts() -> None:
    """Red beside cyan, blurred towards grey: its tint is right, and half of its saturation is gone."""
    true = torch.full((1, 1, 3, 32, 32), -0.5)
    true[..., 0, :, ::2] = 0.5
    true[..., 1:, :, 1::2] = 0.5
    blurred = 0.5 * true
    tints, strengths = zip(losses.colours(blurred), losses.colours(true), strict=True)
    assert torch.allclose(*tints, atol=1e-6)
    assert torch.allclose(2.0 * strengths[0], strengths[1])
    by_hand = (
        np.log(0.25**2 + losses.ERROR_FLOOR)
        + losses.COLOUR_WEIGHT * np.log(losses.COLOUR_FLOOR)
        + losses.COLOUR_WEIGHT * np.log(0.5**2 + losses.COLOUR_FLOOR)
    )
    assert float(losses.image_error(blurred, true)) == pytest.approx(by_hand, abs=1e-3)


def test_a_tint_counts_more_than_as_much_noise() -> None:
    generator = torch.Generator().manual_seed(0)
    true = torch.rand(2, 3, 3, 32, 48, generator=generator) - 0.5
    noise = 0.01 * torch.randn(2, 3, 1, 32, 48, generator=generator).sign()  # grey: saturation stays
    tinted, noisy = losses.image_error(true + 0.01, true), losses.image_error(true + noise, true)
    assert torch.isclose(losses.log_error(true + 0.01, true), losses.log_error(true + noise, true), atol=1e-5)
    assert float(tinted - noisy) > 1.0
    at_large = [np.log(1e-4 + losses.COLOUR_FLOOR), np.log(losses.COLOUR_FLOOR)]
    by_hand = losses.COLOUR_WEIGHT * sum(at_large) + np.log(1e-4 + losses.ERROR_FLOOR)
    assert float(tinted) == pytest.approx(by_hand, abs=1e-3)


def test_the_ssim_error_is_that_of_a_library() -> None:
    generator = torch.Generator().manual_seed(0)
    true = 0.2 * torch.randn(2, 3, 3, 32, 48, generator=generator).cumsum(dim=-1)
    made = (true + 0.3 * torch.randn(true.shape, generator=generator)).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):  # as in training; differences of squares need more digits
        loss = losses.ssim_error(made, true)
    images = [part.detach().flatten(0, 1).double().numpy() for part in (made, true)]
    found = [
        structural_similarity(a, b, channel_axis=0, data_range=2.0, use_sample_covariance=False)
        for a, b in zip(*images, strict=True)
    ]
    expected = np.log(1.0 - np.array(found) + losses.SSIM_FLOOR).mean()
    assert float(loss.detach()) == pytest.approx(expected, abs=1e-4)
    loss.backward()
    assert bool(torch.isfinite(made.grad).all())
    assert float(losses.ssim_error(true, true)) == pytest.approx(np.log(losses.SSIM_FLOOR), abs=0.05)


def test_the_ssim_error_sees_lost_texture_where_squared_errors_do_not() -> None:
    """Faint texture that is smoothed away, against a change of brightness with the same squared error."""
    texture = 0.05 * torch.randn(1, 1, 3, 32, 48, generator=torch.Generator().manual_seed(0))
    true, smooth = 0.3 + texture, torch.full_like(texture, 0.3)
    brighter = true + (smooth - true).square().mean().sqrt()
    assert torch.isclose(losses.log_error(smooth, true), losses.log_error(brighter, true), atol=1e-3)
    assert losses.ssim_error(smooth, true) > losses.ssim_error(brighter, true) + 1.0
