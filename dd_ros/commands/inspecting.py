# SPDX-License-Identifier: Apache-2.0
"""What ``dd_ros inspect`` does: what bags or LeRobot data sets hold, what training would use, or what a checkpoint is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from dd_ros.commands.listing import show_checkpoint
from dd_ros.data.bag_clocks import BagClocks
from dd_ros.data.bags import bags_under, find_bags, read_episodes
from dd_ros.data.lerobot import LeRobotSet, episode_number, episode_paths, is_lerobot, set_of
from dd_ros.data.lerobot.meta import is_here
from dd_ros.data.stream_choice import ODD_RATE, choose_topics, describe_set, describe_streams, only
from dd_ros.data.survey import BagInfo, TopicInfo, inspect_bag
from dd_ros.errors import InputError
from dd_ros.json_files import write_json
from dd_ros.progress import progress
from dd_ros.report import Report
from dd_ros.resources import CONFIG, find_checkpoint
from dd_ros.streams import StreamSpec, parse_actions


@dataclass
class Use:
    """What training would use of a bag.

    Attributes:
        episodes: number of them.
        seconds: length of all together.
        problems: what could not be used.
    """

    episodes: int = 0
    seconds: float = 0.0
    problems: Report = field(default_factory=Report)


def inspect(
    path: str,
    *,
    image_topic: str | None = None,
    action_topics: Sequence[str] = (),
    json_path: Path | None = None,
) -> dict[str, Any]:
    """Print what lies at ``path``: a bag, a folder of bags, a LeRobot data set, or a checkpoint (by path or name).

    Args:
        path: where.
        image_topic, action_topics: what training is to use of bags, the latter as ``streams.parse_actions`` takes
            them; without, the only topic of each kind.
        json_path: where what is returned goes as well; None: nowhere.

    Returns:
        What is printed: its ``kind`` (``bags``, ``lerobot`` or ``checkpoint``), and by kind topics or features, a line for
        each problem, what training would use (``training``, None where that is open); or the settings.

    Raises:
        InputError: it is none of these, or the bags lack these topics.
    """
    console = Console()
    if not console.is_terminal:
        console = Console(width=200)  # piped: nobody needs names cut to fit a window
    place = Path(path)
    topics: dict[str, Any] = {"image_topic": image_topic, "action_topics": action_topics}
    is_set = is_lerobot(place) and not bags_under(place)
    if is_set or (set_of(place) and not place.exists()):
        found = show_lerobot(place, console, **topics)
    elif place.exists() and not (place / CONFIG).is_file():
        found = show_bags(find_bags([place]), console, **topics)
    else:
        try:
            folder = find_checkpoint(path)
        except InputError as error:
            raise InputError(f"{path}: neither a bag nor a checkpoint ({error})") from error
        found = show_checkpoint(folder, console)
    write_json(json_path, found)
    return found


def show_bags(
    bags: Sequence[Path], console: Console, *, image_topic: str | None, action_topics: Sequence[str]
) -> dict[str, Any]:
    """The topics of the bags, then what training would use of them, then every kind of problem in a line."""
    sources = parse_actions(action_topics) if action_topics else ()
    infos = [inspect_bag(bag, sources) for bag in progress(bags, "looking at bags")]
    console.print(topic_table(infos))
    problems = Report()
    for info in infos:
        problems.update(info.problems)
    found = {"kind": "bags", "bags": [str(bag) for bag in bags], "topics": topics_of(infos)}
    try:
        image, sources = choose_topics(infos, image_topic, sources)
        wanted = {image, *(source.topic for source in sources)}
        spec = describe_streams(infos, image, sources, problems=problems)
    except InputError as error:
        problems.update(topic_problems(infos))
        # what the error says as well is not said twice
        say(
            console,
            [e.line for e in problems.entries if e.text.removeprefix(f"{e.source}: ") not in str(error)],
        )
        if image_topic or action_topics:
            raise
        say(console, [str(error)])
        return found | {"problems": [*problems, str(error)], "training": None}
    uses = [use_of(info.path, spec) for info in progress(infos, "reading episodes")]
    if len(bags) > 1:
        console.print(bag_table(infos, uses, spec))
    steps = sum(use.seconds for use in uses)
    for met in (topic_problems(infos, wanted), *(use.problems for use in uses)):
        problems.update(met)
    say(console, problems)
    for line in clock_lines(infos, spec):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    console.print(summary(spec), markup=False, highlight=False, soft_wrap=True)
    number = sum(use.episodes for use in uses)
    text = f"usable: {number} episodes, {steps:.1f} s"
    console.print(text, markup=False, highlight=False, soft_wrap=True)
    of_bags = [
        {"path": str(info.path), "episodes": use.episodes, "seconds": use.seconds}
        for info, use in zip(infos, uses, strict=True)
    ]
    usable = {"episodes": number, "seconds": steps, "bags": of_bags}
    return found | {"problems": list(problems), "training": spec.model_dump(mode="json"), "usable": usable}


def topics_of(infos: Sequence[BagInfo]) -> list[dict[str, Any]]:
    """A row per topic, over all bags, as the table has them."""
    rows = []
    for name in sorted({topic.name for info in infos for topic in info.topics}):
        found = [topic for info in infos for topic in info.topics if topic.name == name]
        rates = [topic.rate for topic in found]
        rows.append(
            {
                "topic": name, "type": span([topic.msgtype for topic in found]),
                "messages": sum(topic.count for topic in found), "rate_hz": [min(rates), max(rates)],
                "seconds": sum(topic.duration for topic in found),
                "longest_gap_s": max(topic.gap for topic in found), "stamps": span([topic.stamps for topic in found]),
                "content": found[0].detail,
            }
        )  # fmt: skip
    return rows


def clock_lines(infos: Sequence[BagInfo], spec: StreamSpec) -> list[str]:
    """By which clock the topics of the bags are read: for one bag, or for the one where most hangs on it."""
    found = [
        (info, BagClocks(info, spec.topics))
        for info in infos
        if set(spec.topics) <= {topic.name for topic in info.topics}
    ]
    if not found:
        return []
    _, clocks = max(found, key=lambda item: item[1].changed_share() or 0.0)
    return [f"clocks: {clocks.line()}"]


def use_of(bag: Path, spec: StreamSpec) -> Use:
    """What reading a bag for training yields; its images are decoded, and not kept."""
    use = Use()
    try:
        episodes = read_episodes(bag, spec.model_copy(update={"width": 1, "height": 1}), use.problems)
    except InputError as error:
        use.problems.add(bag, error)
        return use
    use.episodes, use.seconds = len(episodes), sum(map(len, episodes)) / spec.rate_hz
    return use


def topic_table(infos: Sequence[BagInfo]) -> Table:
    """One row per topic, over all bags."""
    title = str(infos[0].path) if len(infos) == 1 else f"{len(infos)} bags in {infos[0].path.parent}"
    table = Table(
        Column("topic", overflow="fold"),
        "type",
        "messages",
        "rate Hz",
        "seconds",
        "longest gap s",
        "stamps",
        "content",
    )
    table.title = Text(title)
    for row in topics_of(infos):
        table.add_row(
            Text(row["topic"]), row["type"], str(row["messages"]), numbers(row["rate_hz"], 2),
            f"{row['seconds']:.1f}", f"{row['longest_gap_s']:.3f}", row["stamps"], Text(row["content"]),
        )  # fmt: skip
    return table


def bag_table(infos: Sequence[BagInfo], uses: Sequence[Use], spec: StreamSpec) -> Table:
    """One row for all bags that are alike, on the topics that would be used, with what else is in each of them."""
    table = Table(
        "bags", "images", "image Hz", "size", "commands", "command Hz", "episodes", "usable s", "problems"
    )
    looked_at = [BagUse(info, use, spec) for info, use in zip(infos, uses, strict=True)]
    usual = [median(rates) for rates in zip(*(one.rates for one in looked_at), strict=True)]
    alike: dict[object, list[BagUse]] = {}
    for one in looked_at:
        alike.setdefault(one.info.path if one.is_odd(usual) else tuple(one.image.sizes), []).append(one)
    for bags in alike.values():
        first, last = bags[0].info.path.name, bags[-1].info.path.name
        commands = list(zip(*(one.commands for one in bags), strict=True))  # by topic
        table.add_row(
            Text(first if len(bags) == 1 else f"{len(bags)}: {first} .. {last}"),
            numbers([one.image.count for one in bags], 0), numbers([one.image.rate for one in bags], 2),
            " ".join(f"{width}x{height}" for width, height in bags[0].image.sizes),
            "+".join(numbers([topic.count for topic in topics], 0) for topics in commands),
            "+".join(numbers([topic.rate for topic in topics], 1) for topics in commands),
            str(sum(one.use.episodes for one in bags)), f"{sum(one.use.seconds for one in bags):.1f}",
            str(sum(map(len, (one.problems for one in bags)))),
        )  # fmt: skip
    return table


class BagUse:
    """A bag on the topics that would be used.

    Attributes:
        info, use: what it holds, and what training would use of it.
        image, commands: its topics, empty ones where it lacks them.
        problems: all that is wrong with these.
    """

    def __init__(self, info: BagInfo, use: Use, spec: StreamSpec):
        topics = {topic.name: topic for topic in info.topics}
        self.info, self.use = info, use
        self.image = topics.get(spec.image_topic, TopicInfo("", ""))
        self.commands = [topics.get(name, TopicInfo("", "")) for name in spec.action_topics]
        self.problems = [*use.problems, *info.problems, *topic_problems([info], set(spec.topics))]

    @property
    def rates(self) -> list[float]:
        """Hz of images and of commands."""
        return [topic.rate for topic in (self.image, *self.commands)]

    def is_odd(self, usual: Sequence[float]) -> bool:
        """Whether it has a row for itself: for its problems, or for rates unlike the ``usual`` ones."""
        off = (abs(rate - other) > ODD_RATE * other for rate, other in zip(self.rates, usual, strict=True))
        return bool(self.problems) or any(off)


def span(values: Sequence[str]) -> str:
    """The values that occur."""
    return " or ".join(dict.fromkeys(values))


def numbers(values: Sequence[float], digits: int) -> str:
    """Least and greatest value, or the one."""
    low, high = f"{min(values):.{digits}f}", f"{max(values):.{digits}f}"
    return low if low == high else f"{low}..{high}"


def topic_problems(infos: Sequence[BagInfo], names: set[str] | None = None) -> Report:
    """Problems of the topics ``names`` (None: of all), with their bag."""
    found = Report()
    for info in infos:
        for topic in info.topics:
            for entry in topic.problems.entries if names is None or topic.name in names else ():
                found.add(f"{info.path} {topic.name}", entry.text, entry.cure, times=entry.times)
    return found


def say(console: Console, problems: Iterable[str]) -> None:
    for problem in problems:
        console.print(problem, style="yellow", markup=False, highlight=False, soft_wrap=True)


def summary(spec: StreamSpec) -> str:
    """What a model would be made of."""
    actions = ", ".join(f"{source} ({source.dim} values)" for source in spec.actions)
    return (
        f"training would use: images {spec.image_topic} as {spec.width}x{spec.height} at {spec.rate_hz:g} Hz; "
        f"actions {actions}, {spec.action_mode}"
    )


def show_lerobot(
    path: Path, console: Console, *, image_topic: str | None, action_topics: Sequence[str]
) -> dict[str, Any]:
    """Cameras and columns of a LeRobot data set, how much of it is here, the files that it lacks, and what would be used.

    ``path`` may name one of its episodes, of which the numbers are then.
    """
    data = LeRobotSet(set_of(path) or path)
    chosen = [episode_number(bag) for bag in episode_paths(path)] if set_of(path) else list(data.here)
    table = Table("name", "type", "content", title=Text(str(path)))
    for key, feature in data.info.features.items():
        table.add_row(Text(key), feature.dtype, Text(feature.about))
    console.print(table)
    frames = sum(data.episodes[number].length for number in chosen)
    text = (
        f"LeRobot {data.info.codebase_version}: {len(chosen)} episodes, {frames} frames, "
        f"{data.info.fps:g} a second, {frames / data.info.fps:.1f} s"
    )
    console.print(text, markup=False, highlight=False, soft_wrap=True)
    for file in data.files:
        if not is_here(file):
            why = (
                "not fetched: a pointer of Git LFS; run 'git lfs pull'" if file.is_file() else "no such file"
            )
            data.problems.add(file, why)
    say(console, data.problems)
    features = {key: {"type": f.dtype, "content": f.about} for key, f in data.info.features.items()}
    found = {
        "kind": "lerobot", "path": str(path), "version": data.info.codebase_version, "features": features,
        "episodes": len(chosen), "frames": frames, "fps": data.info.fps, "problems": list(data.problems),
    }  # fmt: skip
    try:
        image = image_topic or only(data.image_keys, "--image-topic", "camera")
        spec = describe_set(data, image, parse_actions(action_topics or ["action"]))
    except InputError as error:
        if image_topic or action_topics:
            raise
        say(console, [str(error)])
        return found | {"problems": [*data.problems, str(error)], "training": None}
    console.print(summary(spec), markup=False, highlight=False, soft_wrap=True)
    return found | {"training": spec.model_dump(mode="json")}
