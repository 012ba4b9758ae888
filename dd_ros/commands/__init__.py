# SPDX-License-Identifier: Apache-2.0
"""Commands with one-line errors, and subcommands of ``dd_ros`` that have no better home."""
