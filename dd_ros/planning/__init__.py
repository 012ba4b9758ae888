# SPDX-License-Identifier: Apache-2.0
"""Choosing actions by what they are predicted to lead to."""
