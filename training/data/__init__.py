# SPDX-License-Identifier: Apache-2.0
"""Bags -> batches of clips: index, decoded spans, changes of light and position."""
