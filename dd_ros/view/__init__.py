# SPDX-License-Identifier: Apache-2.0
"""What a camera saw beside what was predicted for it, as recordings of rerun: no ROS here.

rerun itself (the extra ``view``) is imported only where a recording is opened or written.
"""
