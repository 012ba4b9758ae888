# SPDX-License-Identifier: Apache-2.0
"""A round on a machine with a GPU that is at hand for minutes: ``scripts/gpu_round.sh`` runs its parts.

``results`` is the file that all parts write to, ``weights`` how trained weights are carried, ``__main__`` the parts.
"""
