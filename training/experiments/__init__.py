# SPDX-License-Identifier: Apache-2.0
"""Comparisons that the documents quote: the study, the data curve, the loader."""
