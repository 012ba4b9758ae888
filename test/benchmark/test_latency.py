# SPDX-License-Identifier: Apache-2.0
"""``bench`` on a real, untrained checkpoint; how fast it is is not asserted anywhere."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

from dd_ros.benchmark import latency as bench_module
from dd_ros.benchmark.latency import Stream, bench, measure_candidates, quantiles, repeated
from dd_ros.benchmark.roofline import count_bytes, count_flops, weight_bytes
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
    assert set(result["candidates_ms"]) == {"1", "8", "64"}
    assert {"flops", "bytes", "ms", "ratio"} <= set(result["floor"])
    assert all(result["floor"][key] > 0 for key in ("flops", "bytes", "ms", "ratio"))


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


def test_too_many_candidates_are_left_out():
    class Slow(Stream):
        def __init__(self):
            self.calls = []

        def candidates(self, count):
            self.calls.append(count)
            return 1000.0 * count

    stream = Slow()
    assert measure_candidates(stream, seconds=8.5) == {"1": 1000.0, "8": 8000.0, "64": None}
    assert 64 not in stream.calls


def test_flops_are_those_of_a_count_by_hand():
    linear, convolution = nn.Linear(10, 20), nn.Conv2d(3, 4, 3, padding=1)
    query, key = torch.randn(1, 2, 5, 16), torch.randn(1, 2, 7, 16)

    @torch.inference_mode()
    def run():
        linear(torch.randn(6, 10))
        convolution(torch.randn(1, 3, 8, 8))
        nn.functional.scaled_dot_product_attention(query, key, key)

    by_hand = 2 * 6 * 10 * 20 + 2 * 8 * 8 * 4 * 3 * 9 + 2 * (2 * 5 * 7 * 16) * 2
    assert count_flops(run) == by_hand


def test_flops_of_chunks_denoised_in_another_thread_count(tiny_checkpoint, two_threads):
    predictor = Predictor.load(tiny_checkpoint, "cpu")
    stream = Stream(predictor)
    stream.observe()
    beside = count_flops(lambda: predictor.predict(stream.actions[0]))
    assert torch.get_num_threads() == 2
    torch.set_num_threads(1)
    assert count_flops(lambda: predictor.predict(stream.actions[0])) == beside


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
