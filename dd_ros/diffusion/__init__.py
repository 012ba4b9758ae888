# SPDX-License-Identifier: Apache-2.0
"""Noise path, schedules and the one rollout that training and the robot share."""
