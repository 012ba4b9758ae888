# SPDX-License-Identifier: Apache-2.0
"""Subcommands of ``dd_ros`` that have no better home."""
