# SPDX-License-Identifier: Apache-2.0
"""LeRobot data sets (folders of codebase version v2.x or v3.0) -> episodes.

Needs pyarrow and PyAV (extra ``lerobot``), and no ROS. They are imported when a file is read: who has
only bags needs neither.
"""

from dd_ros.lerobot.episodes import LeRobotReader, read_bag, read_episode, read_episodes, reader_of, time_line
from dd_ros.lerobot.meta import LeRobotSet, episode_number, episode_paths, is_lerobot, set_of

__all__ = [
    "LeRobotReader",
    "LeRobotSet",
    "episode_number",
    "episode_paths",
    "is_lerobot",
    "read_bag",
    "read_episode",
    "read_episodes",
    "reader_of",
    "set_of",
    "time_line",
]
