# SPDX-License-Identifier: Apache-2.0
"""Comparisons that the documents quote: the study, robots that no checkpoint knows, the loader, a round on a GPU."""
