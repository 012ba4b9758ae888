# SPDX-License-Identifier: Apache-2.0
"""How predictions are judged: metrics, baselines, curves, long rollouts. No ROS, no Lightning."""
