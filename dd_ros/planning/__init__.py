# SPDX-License-Identifier: Apache-2.0
"""From predictions to actions: costs, solvers and the planner. No ROS here."""
