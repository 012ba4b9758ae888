# SPDX-License-Identifier: Apache-2.0
"""``dd_ros readout`` on real bags: a square walks, its place is recorded, and a head learns to read it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from bag_writer import IMAGE, JOINTS, START, STEP, image, joints, write_bag

from dd_ros import Predictor
from dd_ros.about import About
from dd_ros.checkpoint import load_checkpoint
from dd_ros.config import ReadoutSpec
from dd_ros.errors import InputError
from dd_ros.resources import ABOUT, read_about, read_config
from dd_ros.settings import write_yaml
from dd_ros_training.readout import HEADING, readout, with_section


def walk(path: Path, seed: int, steps: int = 60) -> Path:
    """A bright square whose place, (column, row), is on /place; its steps are the actions."""
    rng = np.random.default_rng(seed)
    place, messages = np.array([20.0, 12.0]), []
    for number in range(steps):
        stamp = START + number * STEP
        frame = np.full((32, 48, 3), 30, np.uint8)
        column, row = place.astype(int)
        frame[row : row + 8, column : column + 8] = 220
        step = rng.uniform(-4, 4, 2)
        messages.append(("/action", JOINTS, stamp - 1000, joints(stamp - 1000, step)))
        messages.append(("/camera/image_raw", IMAGE, stamp, image(stamp, frame)))
        messages.append(("/place", JOINTS, stamp, joints(stamp, place)))
        place = np.clip(place + step, 0, (40, 24))
    return write_bag(path, messages)


@pytest.fixture(scope="module")
def bags(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("walks")
    for number in (1, 2, 3, 4):
        walk(folder / f"walk_{number}", number)
    return folder


@pytest.fixture(scope="module")
def made(bags: Path, tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("readout") / "reading"
    topics = ["/place.position[0:2]"]
    with (
        pytest.MonkeyPatch.context() as patch
    ):  # steps end it, not the time that a busy machine takes for them
        patch.setattr("dd_ros_training.readout.MOST_STEPS", 700)
        readout(str(tiny_checkpoint), [bags], topics=topics, out=out, max_minutes=10.0, device="cpu")
    return out


def test_it_reads_true_frames_of_held_back_bags(made: Path) -> None:
    spec = read_config(made).readouts
    assert spec is not None
    assert spec.names == ("position[0]", "position[1]")
    assert len(spec.errors) == 9  # true frames, and eight predicted steps
    # To guess the mean would be an error of the whole spread; this one sees through a random encoder, three short walks.
    assert all(error < 0.8 * std for error, std in zip(spec.errors[0], spec.std, strict=True))


def test_a_predictor_reads_what_the_errors_promise(made: Path, bags: Path) -> None:
    frame = np.full((32, 48, 3), 30, np.uint8)
    frame[5:13, 30:38] = 220
    predictor = Predictor.load(made, device="cpu")
    _, read = predictor.encode(frame[None])
    spec = predictor.config.readouts
    assert read is not None
    assert spec is not None
    assert np.abs(read[0] - (30, 5)).max() < 4 * max(spec.errors[0])
    predictor.observe(frame, 0, [0.0, 0.0])
    (rollouts,) = predictor.rollouts(np.zeros((3, 8, 2)), frames=None, latents=True)
    chunks = list(predictor.predict_chunks(np.zeros((8, 2))))
    assert rollouts.readouts is not None
    assert rollouts.readouts.shape == (3, 8, 2)
    assert [chunk.readouts.shape for chunk in chunks if chunk.readouts is not None] == [(2, 2)] * 4


def test_what_it_reads_of_predictions_is_read_off_their_latents(made: Path) -> None:
    import torch

    predictor = Predictor.load(made, device="cpu")
    predictor.observe(np.zeros((32, 48, 3), np.uint8), 0, [0.0, 0.0])
    (rollouts,) = predictor.rollouts(np.zeros((2, 8, 2)), frames=None, latents=True)
    spec, head = predictor.config.readouts, predictor.model.readout
    assert spec is not None
    assert head is not None
    with torch.inference_mode():
        slow = [
            [head(torch.from_numpy(latent)[None])[0].numpy() * spec.std + spec.mean for latent in latents]
            for latents in rollouts.latents
        ]
    assert np.allclose(rollouts.readouts, slow, atol=1e-3)


def test_nothing_else_changes(made: Path, tiny_checkpoint: Path) -> None:
    _, before = load_checkpoint(tiny_checkpoint)
    _, after = load_checkpoint(made)
    for name, value in before.state_dict().items():
        assert (after.state_dict()[name] == value).all()
    assert HEADING in (made / "README.md").read_text()


def test_again_replaces_the_head_and_its_section(made: Path, bags: Path) -> None:
    about = About(notes="A square that walks.")
    write_yaml(made / ABOUT, about)
    readout(str(made), [bags], topics=["/place.position[1:2]"], max_minutes=0.05, device="cpu")
    assert read_about(made) == about
    spec = read_config(made).readouts
    assert spec is not None
    assert spec.names == ("position[1]",)
    assert (made / "README.md").read_text().count(HEADING) == 1
    assert Predictor.load(made, device="cpu").model.readout is not None


def test_a_section_in_the_middle_of_a_card_goes_to_its_end() -> None:
    spec = ReadoutSpec.model_validate(
        {
            "sources": [{"topic": "/a", "dim": 1}], "names": ["a"], "mean": [0.0], "std": [1.0],
            "errors": [[0.5], [0.75]],
        }
    )  # fmt: skip
    once = with_section("# name\n\ntext\n", spec, 10.0)
    later = once + "\n## More\n\nmore\n"
    again = with_section(later, spec, 10.0)
    assert again.count(HEADING) == 1
    assert again.index("## More") < again.index(HEADING)
    assert "| a | 1 | 0.5 | 0.75 |" in again


@pytest.mark.parametrize(
    ("topic", "said"),
    [
        ("/nowhere.position[0:2]", "/nowhere"),
        ("/place.effort[0:2]", "/place"),
        ("/camera/image_raw", "expected actions|expected one of"),
    ],
)
def test_a_topic_that_cannot_be_read_is_named(
    bags: Path, tiny_checkpoint: Path, topic: str, said: str
) -> None:
    with pytest.raises(InputError, match=said):
        readout(str(tiny_checkpoint), [bags], topics=[topic], max_minutes=0.05, device="cpu")
