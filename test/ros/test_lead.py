# SPDX-License-Identifier: Apache-2.0
"""Which predicted frame is shown at a fixed lead."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dd_ros.ros.publishers import lead_step

STEP = 100_000_000


@given(lead=st.floats(0.001, 60.0))
def test_the_nearest_step_within_the_horizon(lead: float) -> None:
    wanted = lead_step(lead, step_ns=STEP, horizon=16)
    best = min(range(1, 17), key=lambda k: abs(k * STEP - lead * 1e9))
    assert abs(wanted * STEP - lead * 1e9) <= abs(best * STEP - lead * 1e9) + 1.0
