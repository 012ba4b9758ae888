# SPDX-License-Identifier: Apache-2.0
"""``bench`` on a real, untrained checkpoint; how fast it is is not asserted anywhere."""

from __future__ import annotations

import json

import pytest
import torch
from tiny import random_model, tiny_config
from torch import nn

from dd_ros.benchmark import latency as bench_module
from dd_ros.benchmark.latency import Stream, bench, measure, measure_candidates, quantiles, repeated
from dd_ros.benchmark.roofline import count_bytes, count_flops, count_kernels, flop_counter, weight_bytes
from dd_ros.device import native_dtype
from dd_ros.diffusion.schedule import preset
from dd_ros.errors import InputError
from dd_ros.predictor import Predictor

ROWS = {"teacher", "uniform4_clean_context", "uniform2", "one_step"}
QUANTILES = {"p50", "p95", "p99", "max"}


@pytest.fixture(scope="module")
def result(tiny_checkpoint, tmp_path_factory):
    path = tmp_path_factory.mktemp("bench") / "bench.json"
    assert bench(tiny_checkpoint, path, device="cpu", seconds=0.1) == json.loads(path.read_text())
    return json.loads(path.read_text())


def test_json_has_the_promised_names(result):
    assert {"device", "torch", "dtype", "image", "horizon", "schedule", "frames_per_second"} <= set(result)
    assert result["image"] == [48, 32]
    assert result["horizon"] == 8
    assert result["schedule"] == [2, 1, 1, 1]
    assert result["dtype"] == str(native_dtype(torch.device("cpu"))).removeprefix("torch.")
    assert set(result["latency_ms"]) == {"first_chunk", "horizon"}
    for values in result["latency_ms"].values():
        assert set(values) == QUANTILES
        assert 0 < values["p50"] <= values["p95"] <= values["p99"] <= values["max"]
    assert result["latency_ms"]["first_chunk"]["p50"] < result["latency_ms"]["horizon"]["p50"]
    assert set(result["versus"]) == ROWS
    for row in result["versus"].values():
        keys = {"first_frame_ms", "horizon_ms", "speedup_first_frame", "speedup_horizon"}
        assert all(row[key] > 0 for key in keys)
    assert set(result["candidates_ms"]) == {"1", "8", "64", "256"}
    assert {"flops", "bytes", "ms", "ratio"} <= set(result["floor"])


def test_json_says_on_what_it_was_measured(result):
    assert result["threads"] == torch.get_num_threads()
    assert result["cpu_capability"] == torch.backends.cpu.get_cpu_capability()
    assert result["cuda"] is None
    assert result["parameters"] == sum(p.numel() for p in random_model(tiny_config()).parameters())


def test_rows_have_the_quantiles_of_their_runs(result):
    for row in (result, *result["versus"].values()):
        first, horizon = row["latency_ms"]["first_chunk"], row["latency_ms"]["horizon"]
        assert set(first) == set(horizon) == QUANTILES
        assert row["frames_per_second"] == pytest.approx(8e3 / horizon["p50"], rel=1e-2)
    row = result["candidates"]["1"]
    assert result["candidates_ms"]["1"] == row["frames"]["p50"]
    assert row["frames_per_second"] == pytest.approx(8e3 / row["frames"]["p50"], rel=1e-2)
    assert set(row["costs"]) == QUANTILES


def test_the_floor_is_the_largest_of_operations_bytes_and_kernels(result):
    floor = result["floor"]
    assert all(value > 0 for value in floor.values())
    assert floor["ms"] == max(floor[name] for name in ("operations_ms", "bytes_ms", "kernels_ms"))
    assert floor["kernels_ms"] == pytest.approx(floor["kernels"] * floor["kernel_us"] / 1e3, rel=1e-2)
    assert floor["ratio"] == pytest.approx(result["latency_ms"]["horizon"]["p50"] / floor["ms"], rel=1e-2)


def test_rows_count_their_network_passes(result):
    passes = {name: row["passes"] for name, row in result["versus"].items()}
    assert passes == {"teacher": 100, "uniform4_clean_context": 19, "uniform2": 8, "one_step": 4}
    assert all(row["passes_ours"] == 5 for row in result["versus"].values())


def test_another_horizon(tiny_checkpoint, tmp_path):
    result = bench(tiny_checkpoint, tmp_path / "bench.json", device="cpu", horizon=16, seconds=0.1)
    assert result["horizon"] == 16
    assert len(result["schedule"]) == 8
    assert result["versus"]["teacher"]["passes"] == 100
    assert result["versus"]["one_step"]["passes"] == 8
    for node, horizon, found in ((True, 16, "leave out --node"), (False, 5, "5 frames do not divide")):
        with pytest.raises(InputError, match=found):
            bench(tiny_checkpoint, tmp_path / "bench.json", device="cpu", node=node, horizon=horizon)


def test_the_teacher_gives_its_first_frame_with_its_last(result):
    row = result["versus"]["teacher"]
    assert row["first_frame_ms"] == row["horizon_ms"]


def test_figures_are_there_before_all_rows_are(tiny_checkpoint):
    predictor = Predictor.load(tiny_checkpoint, "cpu")
    rows = measure(predictor, seconds=0.0, rivals=("one_step", "uniform2"), candidates=(2,))
    counts = [(len(result["versus"]), len(result["candidates"])) for result in rows]
    assert counts == [(0, 0), (1, 0), (2, 0), (2, 1)]


def test_too_many_candidates_are_left_out(tiny_checkpoint):
    class Slow(Stream):
        def __init__(self):
            self.predictor, self.calls = Predictor.load(tiny_checkpoint, "cpu"), []

        def candidates(self, count, *, frames=True):
            self.calls.append((count, frames))
            return 1000.0 * count

    stream = Slow()
    rows = dict(measure_candidates(stream, (1, 8, 64), seconds=25.0))
    assert rows[1]["frames"]["p50"] == 1000.0
    assert rows[8]["costs"]["p50"] == 8000.0
    assert rows[64] is None
    assert {count for count, _ in stream.calls} == {1, 8}


def test_flops_are_those_of_a_count_by_hand():
    linear, convolution = nn.Linear(10, 20), nn.Conv2d(3, 4, 3, padding=1)
    query, key = torch.randn(1, 2, 5, 16), torch.randn(1, 2, 7, 16)
    with torch.inference_mode(), flop_counter() as counter:
        linear(torch.randn(6, 10))
        convolution(torch.randn(1, 3, 8, 8))
        nn.functional.scaled_dot_product_attention(query, key, key)
    by_hand = 2 * 6 * 10 * 20 + 2 * 8 * 8 * 4 * 3 * 9 + 2 * (2 * 5 * 7 * 16) * 2
    assert counter.get_total_flops() == by_hand


def test_flops_by_shapes_are_those_of_a_run(tiny_checkpoint, one_thread):
    predictor = Predictor.load(tiny_checkpoint, "cpu")
    stream = Stream(predictor)
    stream.run()
    with flop_counter() as counter:
        stream.run()
    assert count_flops(predictor) == counter.get_total_flops()


def test_kernels_are_the_operators_that_compute(two_threads):
    def run():
        x = torch.ones(2, 6)  # 1
        (x.view(3, 4)[1:].T + 1.0).mul_(2.0)  # 2, and views
        torch.empty(4)

    assert count_kernels(run, torch.device("cpu")) == 3
    assert torch.get_num_threads() == 2


def test_kernels_of_chunks_denoised_in_another_thread_count(tiny_checkpoint, two_threads):
    predictor = Predictor.load(tiny_checkpoint, "cpu")
    stream = Stream(predictor)
    stream.run()
    beside = count_kernels(stream.run, predictor.device)
    torch.set_num_threads(1)
    assert count_kernels(stream.run, predictor.device) == beside > 500


def test_bytes_grow_with_passes(tiny_checkpoint):
    predictor = Predictor.load(tiny_checkpoint, "cpu")
    more = predictor.with_schedule(preset("4", 2, 8))
    extra = 16 - 5
    difference = count_bytes(more) - count_bytes(predictor)
    assert difference > extra * weight_bytes(predictor.model.transformer)
    assert weight_bytes(nn.Linear(3, 5)) == 4 * 20


def test_repeated_keeps_its_bounds():
    assert repeated(lambda: 1, (3, 30), seconds=0.0) == [1, 1, 1]
    assert len(repeated(lambda: 1, (3, 30), seconds=60.0)) == 30


def test_quantiles():
    values = quantiles(range(1, 102))
    assert values == {"p50": 51.0, "p95": 96.0, "p99": 100.0, "max": 101.0}


def test_every_row_is_a_known_schedule():
    assert set(bench_module.RIVAL_SCHEDULES) == ROWS
    for name in ROWS:
        preset(name, 2, 8)
