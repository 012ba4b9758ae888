# SPDX-License-Identifier: Apache-2.0
"""The nodes of the demonstration: the simulated robot, a recording in its place, and the recorder."""
