# SPDX-License-Identifier: Apache-2.0
"""The subcommands of ``dd_ros``: a file each with its options, which imports what it runs when it runs.

``predicting``, ``inspecting`` and ``viewing`` hold what of them has no better home.
"""
