# SPDX-License-Identifier: Apache-2.0
"""Everything that knows messages, topics and nodes; besides the nodes of the demo the only place that imports rclpy."""
