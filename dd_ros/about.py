# SPDX-License-Identifier: Apache-2.0
"""What a checkpoint says of itself in ``about.yaml``: robot, data, licence, figures; what its card says in prose. No torch."""

from __future__ import annotations

from statistics import mean
from typing import Annotated, Any

from pydantic import Field

from dd_ros.settings import Settings

Decibel = Annotated[float, Field(ge=-1e3, le=1e3, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Index = Annotated[float, Field(ge=-1.0, le=1.0)]  # structural similarity, or a correlation


class Figures(Settings):
    """How good a checkpoint is, by ``dd_ros evaluate`` on episodes that training did not see.

    Attributes:
        windows, episodes: what it was judged on.
        psnr: mean over windows and steps in dB, of ``model``, ``copy_last`` and ``optical_flow``.
        ssim: the same of the structural similarity.
        true_best_fraction: share of windows in which true actions are the best of true, zero and shuffled.
        rank_correlation: of expected and true error, mean over steps; None where it is not known.
    """

    windows: Annotated[int, Field(gt=0)]
    episodes: Annotated[int, Field(gt=0)]
    psnr: Annotated[dict[str, Decibel], Field(max_length=16)]
    ssim: Annotated[dict[str, Index], Field(max_length=16)]
    true_best_fraction: Fraction
    rank_correlation: Index | None = None

    @classmethod
    def of(cls, result: dict[str, Any]) -> Figures:
        """Those of what ``dd_ros evaluate`` gives."""
        ranks = [value for value in result["uncertainty"]["rank_correlation"] if value is not None]
        return cls(
            windows=result["windows"],
            episodes=result["episodes"],
            psnr={name: values["psnr"] for name, values in result["mean"].items()},
            ssim={name: values["ssim"] for name, values in result["mean"].items()},
            true_best_fraction=result["actions"]["true_best_fraction"],
            rank_correlation=round(mean(ranks), 4) if ranks else None,
        )

    def above(self, other: str) -> float | None:
        """PSNR of the model above that of ``other`` in dB; None where one of them is not known."""
        both = self.psnr.get("model"), self.psnr.get(other)
        return None if both[0] is None or both[1] is None else round(both[0] - both[1], 4)


class About(Settings):
    """What ``about.yaml`` holds.

    Attributes:
        notes: paragraph of the recipe. Its first sentence is the robot and what it does; the others say where the data come
            from, under which licence.
        figures: None where the checkpoint was not evaluated.
        robots: those of each robot, where it was trained on several.
    """

    notes: str = ""
    figures: Figures | None = None
    robots: Annotated[dict[str, Figures], Field(max_length=64)] = Field(default_factory=dict)

    @property
    def robot(self) -> str:
        """The first sentence of the notes."""
        return self.notes.partition(". ")[0].rstrip(".")

    @property
    def data(self) -> str:
        """The notes without their first sentence."""
        return self.notes.partition(". ")[2]
