# SPDX-License-Identifier: Apache-2.0
"""Bags -> clips: index, decoded segments, changes of light and place."""
