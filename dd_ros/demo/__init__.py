# SPDX-License-Identifier: Apache-2.0
"""The demonstration: a simulated robot, a recorder of what was predicted, and the report."""
