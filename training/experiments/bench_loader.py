# SPDX-License-Identifier: Apache-2.0
"""How fast images come out of bags, and how much memory that takes.

Example:
    python -m dd_ros_training.experiments.bench_loader --bags DIR --json loader.json
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import click
from torch.utils.data import DataLoader, Dataset

from dd_ros.console import Command
from dd_ros.data.bags import find_bags
from dd_ros.data.stream_choice import choose_topics, describe_streams
from dd_ros.data.survey import inspect_bag
from dd_ros.errors import InputError
from dd_ros.report import Report
from dd_ros.streams import StreamSpec, parse_actions
from dd_ros_training.data.augment import Augment
from dd_ros_training.data.batches import BagData
from dd_ros_training.data.clips import fit_actions, spans_of
from dd_ros_training.data.index import TrainingEpisode, index_bags
from dd_ros_training.data.workers import begin_worker, context

CLIP_FRAMES, EARLIER_FRAMES, BATCH = 18, 2, 8


@dataclass
class Sample:
    """After ``seconds`` of loading: frames in batches so far, and memory (MB) of all processes."""

    seconds: float
    frames: int
    megabytes: float


class Decoding(Dataset[int]):
    """Decodes a span and gives the number of its frames."""

    def __init__(self, episodes: Sequence[TrainingEpisode]):
        self.episodes = episodes
        self.spans = spans_of([len(episode) for episode in episodes], CLIP_FRAMES)

    def __len__(self) -> int:
        return len(self.spans)

    def __getitem__(self, item: int) -> int:
        episode, start, stop = map(int, self.spans[item])
        return len(self.episodes[episode].frames(start, stop))


def decoding_rate(episodes: Sequence[TrainingEpisode], workers: int) -> float:
    """Frames per second of the bags' images -> images of the model's size, each once."""
    loader = DataLoader(
        Decoding(episodes), None, num_workers=workers, worker_init_fn=begin_worker,
        multiprocessing_context=context(workers),
    )  # fmt: skip
    turn = iter(loader)
    next(turn)  # processes are up
    start = time.perf_counter()
    return sum(turn) / (time.perf_counter() - start)


def loading(episodes: Sequence[TrainingEpisode], workers: int, every: int = 20) -> list[Sample]:
    """Training batches until each span could have been drawn from once; a sample each ``every`` batches."""
    data = BagData(
        episodes,
        episodes,
        action=fit_actions(episodes),
        clip_frames=CLIP_FRAMES,
        batch_size=BATCH,
        workers=workers,
        augment=Augment(),
        earlier=EARLIER_FRAMES,
    )
    clips = sum(max(0, len(episode) - CLIP_FRAMES + 1) for episode in episodes) // 8
    samples = [Sample(0.0, 0, megabytes())]
    start = time.perf_counter()
    for number, _ in zip(range(1, clips // BATCH + 1), data.train_dataloader(), strict=False):
        if number % every == 0:
            seconds = time.perf_counter() - start
            samples.append(Sample(seconds, number * BATCH * CLIP_FRAMES, megabytes()))
    return samples


def megabytes() -> float:
    """Memory of this process and its children; what several share counts once."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    total = 0
    for process in ["self", *children]:
        for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1])
    return total / 1024


def streams_of(
    bags: Sequence[Path], *, image_topic: str | None, actions: Sequence[str], size: tuple[int, int] | None
) -> StreamSpec:
    """What training would make of the bags; ``size`` is another width and height."""
    sources = parse_actions(actions) if actions else ()
    infos = [inspect_bag(bags[0], sources)]
    streams = describe_streams(infos, *choose_topics(infos, image_topic, sources), problems=Report())
    return streams.model_copy(update={"width": size[0], "height": size[1]}) if size else streams


@click.command(cls=Command)
@click.option(
    "--bags", multiple=True, required=True, type=click.Path(path_type=Path), help="A bag or a folder of bags."
)
@click.option("--json", "out", required=True, type=click.Path(path_type=Path), help="File for the figures.")
@click.option("--image-topic", help="Camera topic; default the only one there is.")
@click.option("--action-topic", multiple=True, help="Action topic; default the only one there is.")
@click.option("--size", type=(int, int), help="Width and height of the images; default the model's.")
@click.option("--minutes", default=60.0, help="Bags are repeated until they are as long as this.")
@click.option("--workers", default=2, help="Decoding processes.")
def main(
    bags: tuple[Path, ...], out: Path, image_topic: str | None, action_topic: tuple[str, ...],
    size: tuple[int, int] | None, minutes: float, workers: int,
) -> None:  # fmt: skip
    """Measure the loader of training on BAGS."""
    found = find_bags(bags)
    streams = streams_of(found, image_topic=image_topic, actions=action_topic, size=size)
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        problems = Report()
        episodes = index_bags(found, streams, Path(folder), problems=problems)
        indexing = time.perf_counter() - start
        steps = sum(map(len, episodes))
        if not steps:
            raise click.ClickException(f"no usable bag; {problems.lines()[0]}")
        hour = episodes * (1 + int(minutes * 60 * streams.rate_hz) // steps)
        load = os.getloadavg()[0]
        rate = decoding_rate(hour, workers)
        samples = loading(hour, workers)
    last, settled = samples[-1], [sample.megabytes for sample in samples[len(samples) // 4 :]]
    figures = {
        "cores": len(os.sched_getaffinity(0)),
        "load_before": load,
        "workers": workers,
        "image": [streams.width, streams.height],
        "minutes_of_bags": sum(map(len, hour)) / streams.rate_hz / 60,
        "indexed_steps_per_second": steps / indexing,
        "decoded_frames_per_second": rate,
        "frames_per_second_in_batches": last.frames / last.seconds,
        "megabytes": {"peak": max(s.megabytes for s in samples), "settled": [min(settled), max(settled)]},
        "samples": [asdict(sample) for sample in samples],
    }
    out.write_text(json.dumps(figures, indent=1))
    print(
        f"decoded {rate:.0f} frames/s, in batches {figures['frames_per_second_in_batches']:.0f} frames/s; "
        f"memory {min(settled):.0f} to {max(settled):.0f} MB over {figures['minutes_of_bags']:.0f} minutes of bags"
    )


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        raise SystemExit(str(error)) from error
