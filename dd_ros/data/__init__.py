# SPDX-License-Identifier: Apache-2.0
"""Every way from bytes to frames and actions. No rclpy, no torch, no predictor."""
