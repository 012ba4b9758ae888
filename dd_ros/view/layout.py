# SPDX-License-Identifier: Apache-2.0
"""How a recording opens: images above, curves below."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

WINDOW = 15.0  # s of the past that curves show while data come in
COLOURS = (
    (31, 119, 180),
    (255, 127, 14),
    (44, 160, 44),
    (214, 39, 40),
    (148, 103, 189),
    (140, 86, 75),
)  # of leads
PALE = 0.6  # share of white in the colour of what predictions are compared with


def lead_name(seconds: float) -> str:
    """Name of the entity with frames so many seconds ahead: ``lead_0.5s``."""
    return f"lead_{round(seconds, 3):g}s"


def colour(number: int, *, pale: bool = False) -> tuple[int, int, int]:
    """Colour of the lines of lead ``number``."""
    red, green, blue = (
        round(value + (255 - value) * PALE * pale) for value in COLOURS[number % len(COLOURS)]
    )
    return red, green, blue


def blueprint(leads: Sequence[str], *, timeline: str, live: bool, candidates: bool = False) -> Any:
    """Layout of a recording as ``view.log.ViewLog`` writes it.

    Args:
        leads: names of the leads.
        timeline: the one to open with.
        live: whether to follow what comes, instead of playing all from the start, over and over.
        candidates: whether there are candidates to show.
    """
    import rerun.blueprint as rrb

    window = (
        rrb.VisibleTimeRange(
            timeline, start=rrb.TimeRangeBoundary.cursor_relative(seconds=-WINDOW),
            end=rrb.TimeRangeBoundary.infinite(),
        )
        if live
        else None
    )  # fmt: skip

    def image(entity: str, title: str) -> Any:
        return rrb.Spatial2DView(origin=entity, name=title)

    def curves(title: str, *entities: str, legend: bool = False) -> Any:
        contents = [f"{entity}/**" for entity in entities]
        shown = rrb.PlotLegend(visible=legend)
        return rrb.TimeSeriesView(
            origin="/", contents=contents, name=title, time_ranges=window, plot_legend=shown
        )

    ahead = {lead: f"{lead.removeprefix('lead_').removesuffix('s')} s ahead" for lead in leads}
    corner: Any = rrb.TextDocumentView(origin="about", name="what is shown")
    if candidates:
        corner = rrb.Vertical(
            image("candidates/last_frames", "candidates: where they lead, cost"),
            rrb.BarChartView(origin="candidates/costs", name="costs", plot_legend=rrb.PlotLegend(visible=False)),
            row_shares=[3, 1],
        )  # fmt: skip
    elif live:
        columns = rrb.archetypes.TextLogColumns(text_log_columns=["LogLevel", "Body"])
        corner = rrb.TextLogView(origin="diagnostics", name="what the node says", columns=columns)
    return rrb.Blueprint(
        rrb.Vertical(
            rrb.Horizontal(
                image("camera", "camera"),
                *(image(f"predicted/{lead}", f"predicted {text}") for lead, text in ahead.items()),
            ),
            rrb.Horizontal(
                corner, *(image(f"error/{lead}", f"error, {text}") for lead, text in ahead.items())
            ),
            rrb.Horizontal(
                curves("PSNR in dB; pale: copy of the last frame", "psnr"),
                curves("uncertainty; 1 is a guess", "uncertainty", legend=True),
                curves("commands, and what was planned", "commands", f"plan/{leads[len(leads) // 2]}"),
                *([rrb.Vertical(curves("age in ms", "age_ms"), curves("missed", "missed"))] if live else []),
            ),
        ),
        rrb.TimePanel(
            state="collapsed", timeline=timeline, play_state="following" if live else "playing",
            loop_mode="off" if live else "all",
        ),
        rrb.SelectionPanel(state="collapsed"),
        rrb.BlueprintPanel(state="collapsed"),
    )  # fmt: skip
