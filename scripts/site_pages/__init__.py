# SPDX-License-Identifier: Apache-2.0
"""What the documentation site makes from the code when it is built, and what its pages say of the code.

mkdocs loads ``hooks.py``; the tests in ``test/docs`` compare pages and code with the same functions.
"""
