# SPDX-License-Identifier: Apache-2.0
"""LeRobot data sets (folders of codebase version v2.x or v3.0) -> episodes.

Needs pyarrow and PyAV (extra ``lerobot``), and no ROS. They are imported when a file is read: who has
only bags needs neither.
"""

from dd_ros.data.lerobot.episodes import LeRobotEpisode, index_bag, keys_of, read_bag
from dd_ros.data.lerobot.meta import LeRobotSet, episode_number, episode_paths, is_lerobot, set_of
from dd_ros.data.lerobot.reader import LeRobotReader

__all__ = [
    "LeRobotEpisode",
    "LeRobotReader",
    "LeRobotSet",
    "episode_number",
    "episode_paths",
    "index_bag",
    "is_lerobot",
    "keys_of",
    "read_bag",
    "set_of",
]
