# SPDX-License-Identifier: Apache-2.0
"""From a predictor's uncertainty to an interval of the error in grey levels, as a checkpoint's ``config.yaml`` holds it.

The error of a frame is the root of the mean squared difference to the true frame over pixels and colours, in grey levels of
255 (RMS). Unlike PSNR it needs no upper end for frames without error, and a mean of it over frames is a sum that planners can
weigh; it is 255 / 10^(PSNR / 20), so that the same intervals hold for PSNR, ends exchanged.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from dd_ros.settings import Settings

LEVELS = (0.1, 0.5, 0.9)  # quantiles of the error: low, median and high
LEAST_UNCERTAINTY = 1e-3  # below it a network claims more than 8 bits can show
WHITE = 255.0  # grey levels: no frame is farther off

Exponent = Annotated[float, Field(ge=0.0, le=10.0)]
Factor = Annotated[float, Field(gt=0.0, le=1e6)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]


class ErrorIntervals(Settings):
    """At lead step k each quantile of the error is ``factors[k] * uncertainty ** exponents[k]``, at least the one below it.

    So intervals grow with the uncertainty and their ends never cross. They are about frames from the data that they were
    fitted to, of the checkpoint's own schedule, for the actions that were then taken.

    Attributes:
        exponents: [K, 3], for low, median and high.
        factors: [K, 3], in grey levels.
        windows, episodes: what they were fitted to.
        coverage: share of frames within 80% intervals, each episode's by those of the other episodes alone; None where
            there was one episode.
    """

    exponents: Annotated[
        tuple[tuple[Exponent, Exponent, Exponent], ...], Field(min_length=1, max_length=4096)
    ]
    factors: tuple[tuple[Factor, Factor, Factor], ...]
    windows: Annotated[int, Field(gt=0)]
    episodes: Annotated[int, Field(gt=0)]
    coverage: Share | None = None

    @model_validator(mode="after")
    def _fits(self) -> ErrorIntervals:
        if len(self.factors) != len(self.exponents):
            raise ValueError(f"factors must have {len(self.exponents)} rows, got {len(self.factors)}")
        return self

    def of(self, uncertainty: NDArray[np.floating], *, first_step: int = 1) -> NDArray[np.float32] | None:
        """Intervals of the error of frames that begin ``first_step`` steps ahead.

        Args:
            uncertainty: [..., c], as ``predictions.Chunk.uncertainty``.
            first_step: lead of the first of them, 1 is the next frame.

        Returns:
            float32 [..., c, 3]: low, median and high, in grey levels from 0 to 255; None where a frame lies farther ahead
            than was calibrated.
        """
        steps = slice(first_step - 1, first_step - 1 + uncertainty.shape[-1])
        if steps.stop > len(self.exponents):
            return None
        size = np.maximum(uncertainty, LEAST_UNCERTAINTY)[..., None] ** np.array(self.exponents[steps])
        ends = np.maximum.accumulate(size * np.array(self.factors[steps]), axis=-1)
        return np.minimum(ends, WHITE).astype(np.float32)
