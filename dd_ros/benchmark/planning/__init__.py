# SPDX-License-Identifier: Apache-2.0
"""Planners beside each other on PushT, by the protocol of stable-worldmodel (swm/PushT-v1)."""
