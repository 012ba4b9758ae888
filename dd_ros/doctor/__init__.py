# SPDX-License-Identifier: Apache-2.0
"""``dd_ros doctor``: whether all that predictions need is here and works, a line for each, with a cure."""
