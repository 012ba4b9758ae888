# SPDX-License-Identifier: Apache-2.0
"""Which predicted frame is shown: at a fixed lead, or the one for now."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dd_ros.ros.publishers import lead_step

STEP = 100_000_000


@given(age=st.integers(0, 3_000_000_000), step=st.integers(1_000_000, STEP), horizon=st.integers(1, 64))
def test_a_frame_for_now_is_the_first_whose_time_is_not_over(age: int, step: int, horizon: int) -> None:
    wanted = lead_step(0.0, age_ns=age, step_ns=step, horizon=horizon)
    reachable = [k for k in range(1, horizon + 1) if k * step > age]
    assert wanted == (reachable[0] if reachable else horizon)


@given(age=st.integers(0, 3_000_000_000), lead=st.floats(0.001, 60.0))
def test_a_fixed_lead_knows_no_age(age: int, lead: float) -> None:
    wanted = lead_step(lead, age_ns=age, step_ns=STEP, horizon=16)
    assert wanted == lead_step(lead, age_ns=0, step_ns=STEP, horizon=16)
    best = min(range(1, 17), key=lambda k: abs(k * STEP - lead * 1e9))
    assert abs(wanted * STEP - lead * 1e9) <= abs(best * STEP - lead * 1e9) + 1.0
