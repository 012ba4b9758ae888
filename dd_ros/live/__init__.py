# SPDX-License-Identifier: Apache-2.0
"""A running predictor without ROS: newest frames in, chunks out, and what is wrong with the inputs."""
