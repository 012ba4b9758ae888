# SPDX-License-Identifier: Apache-2.0
"""Training of dd_ros checkpoints: bags in, checkpoint out. Needs the ``train`` extra (Lightning)."""

import dd_ros  # noqa: F401  its settings for torch, before torch is loaded
