# SPDX-License-Identifier: Apache-2.0
"""The demonstration without ROS: a simulated robot, what it does when pushed otherwise, and the report on a live run."""
