# SPDX-License-Identifier: Apache-2.0
"""What a study compares, as its YAML file holds it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from dd_ros.settings import Settings, merged, validated
from dd_ros_training.recipe import Recipe
from dd_ros_training.renamed import Renaming

Stage = Literal["autoencoder", "teacher", "distillation"]


class Variant(Settings):
    """One row of the study.

    Attributes:
        title: what the tables call it.
        kind: whether it is a rival of the method, or the method without one part.
        start: the shared stage whose weights it starts from.
        stages: what is trained of it.
        changes: entries of the recipe that differ from the base's; those of a stage are merged.
        drift: whether it also makes long rollouts, as the method itself does.
    """

    title: str
    kind: Literal["rival", "ablation"]
    start: Literal["autoencoder", "teacher"] = "teacher"
    stages: tuple[Stage, ...] = Field(default=("distillation",), min_length=1)
    changes: dict[str, Any] = Field(default_factory=dict)
    drift: bool = False


class Study(Settings):
    """What is compared.

    Attributes:
        base: the recipe of the method.
        windows: windows that each variant is evaluated on, at most.
        drift_steps: model steps of a long rollout; chunks must divide it.
        seeds: times that each row is made, with other random draws from the same shared stages; the tables have
            the means.
        jobs: rows that are made at a time, each on its share of the cores: on a CPU two small trainings on a core
            each get on faster than one after the other on both.
        variants: the rows; the first is the method itself.
    """

    base: Recipe
    windows: int = Field(default=150, ge=1)
    drift_steps: int = Field(default=208, ge=1)
    seeds: int = Field(default=1, ge=1)
    jobs: int = Field(default=1, ge=1)
    variants: dict[str, Variant] = Field(min_length=1)

    @property
    def method(self) -> str:
        """Name of the method's own row."""
        return next(iter(self.variants))

    @classmethod
    def upgraded(cls, entries: Any, source: str) -> Any:
        """``entries`` with today's names in the base and in all changes; the user hears of each older one."""
        if not isinstance(entries, dict):
            return entries
        renaming = Renaming(source)
        if "base" in entries:
            entries = entries | {"base": renaming.recipe(entries["base"])}
        if isinstance(variants := entries.get("variants"), dict):
            changed = {name: upgraded_variant(variant, renaming) for name, variant in variants.items()}
            entries = entries | {"variants": changed}
        renaming.say()
        return entries


def upgraded_variant(entries: Any, renaming: Renaming) -> Any:
    """``entries`` of a variant with today's names in its changes."""
    if not isinstance(entries, dict) or "changes" not in entries:
        return entries
    return entries | {"changes": renaming.recipe(entries["changes"])}


def recipe_of(base: Recipe, variant: Variant, *, name: str, seed: int = 0) -> Recipe:
    """The base's recipe with the variant's changes, called ``name``; the stages that it trains draw by ``seed``.

    Raises:
        InputError: the changes make no recipe.
    """
    seeds = {stage: {"seed": seed} for stage in variant.stages} if seed else {}
    entries = merged(merged(base.model_dump(), variant.changes), seeds)
    return validated({**entries, "name": name}, Recipe, f"variant {name}")
