# SPDX-License-Identifier: Apache-2.0
"""Everything that knows messages, topics and nodes; the only place that imports rclpy."""
