# SPDX-License-Identifier: Apache-2.0
"""How much of a predicted change is believed, as a checkpoint's ``config.yaml`` holds it.

A prediction that knows little is worse than the last observed frame. So what is shown is the last observed frame and a share
of the change that was predicted: all of it where predictions of such a size came true on held-back episodes, none where they
did not, by the step and, pixel by pixel, by the size of the change around it.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from dd_ros.settings import Settings

REACH = 4  # pixels around a pixel, in each direction, over which the size of a change is taken
# Sizes of a change, RMS in grey levels of 255, for which shares are given; between them they are interpolated.
LEVELS = tuple(0.25 * 2.0**octave for octave in range(9))

Share = Annotated[float, Field(ge=0.0, le=1.0)]


class Gate(Settings):
    """Shares of the predicted change by lead step and size.

    Attributes:
        shares: K rows with a share for each of LEVELS, row k of changes predicted k + 1 steps ahead; farther ahead the last
            row holds.
        windows, episodes: what they were fitted to.
        gain: what it brings, PSNR in dB on average, on episodes that were left out of the fit.
    """

    shares: Annotated[tuple[tuple[Share, ...], ...], Field(min_length=1, max_length=4096)]
    windows: Annotated[int, Field(gt=0)]
    episodes: Annotated[int, Field(gt=0)]
    gain: Annotated[float, Field(ge=-1e3, le=1e3)]

    @model_validator(mode="after")
    def _fits(self) -> Gate:
        if any(len(row) != len(LEVELS) for row in self.shares):
            raise ValueError(f"shares must have {len(LEVELS)} values in each row")
        return self

    def rows(self, steps: int) -> NDArray[np.float32]:
        """Shares of the first ``steps`` lead steps, [steps, levels]."""
        known = np.asarray(self.shares, np.float32)
        return known[np.minimum(np.arange(steps), len(known) - 1)]
