# SPDX-License-Identifier: Apache-2.0
"""The three stages, one LightningModule each: autoencoder, teacher, distillation."""
