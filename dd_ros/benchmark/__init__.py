# SPDX-License-Identifier: Apache-2.0
"""How long predictions take: in this process, at the roofline, through the node."""
