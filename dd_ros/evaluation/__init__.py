# SPDX-License-Identifier: Apache-2.0
"""How predictions are judged: metrics, baselines, curves, benchmark. No ROS, no Lightning."""
