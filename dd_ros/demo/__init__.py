# SPDX-License-Identifier: Apache-2.0
"""The demonstration: a simulated robot, the report on what was predicted, and the command that runs all."""
