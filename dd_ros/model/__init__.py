# SPDX-License-Identifier: Apache-2.0
"""The network in pure torch: autoencoder, causal action-conditioned transformer, KV cache."""
