# SPDX-License-Identifier: Apache-2.0
"""The method beside its rivals, and without each of its parts: one network, the same data, the same minutes.

Example:
    python -m dd_ros_training.experiments.study config/study.yaml --bags DIR --out out/study

Everything is kept in ``--out``, each variant as a checkpoint: what was trained or evaluated is not done again, and an
interrupted stage goes on. Only the milliseconds are measured anew, when all else is done, one variant after the other.
"""
