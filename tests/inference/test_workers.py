"""Where workers go in a cluster; what a node without the files says."""

import pytest

from attnseg.errors import UsageError
from attnseg.inference.workers import Node, Place, Worker, deal, uses_gpus

HEAD, SMALL, LARGE = Node("h", "head", 0, 0), Node("s", "small", 8, 1), Node("l", "large", 64, 4)


def test_one_worker_a_node_that_has_processors():
    assert deal([HEAD, SMALL, LARGE], on_gpu=False) == [Place(SMALL, 8, 0), Place(LARGE, 64, 0)]
    assert deal([HEAD], on_gpu=False) == []


def test_one_worker_a_gpu_and_every_node_before_the_second_of_any():
    places = deal([HEAD, SMALL, LARGE], on_gpu=True)
    assert [place.node.name for place in places] == ["small", "large", "large", "large", "large"]
    assert places[0] == Place(SMALL, 8, 1)
    assert set(places[1:]) == {Place(LARGE, 16, 1)}


def test_a_number_of_workers_is_dealt_in_turn():
    places = deal([SMALL, LARGE], on_gpu=False, workers=3)
    assert places == [Place(SMALL, 4, 0), Place(LARGE, 64, 0), Place(SMALL, 4, 0)]
    assert [place.node.name for place in deal([SMALL, LARGE], on_gpu=True, workers=2)] == [
        "small",
        "large",
    ]
    assert {place.gpus for place in deal([LARGE], on_gpu=True, workers=6)} == {0.5}
    assert {place.cpus for place in deal([SMALL], on_gpu=False, workers=9)} == {0}


def test_gpus_are_used_where_there_are_any():
    assert uses_gpus([HEAD, LARGE], "auto")
    assert not uses_gpus([HEAD], "auto")
    assert not uses_gpus([LARGE], "cpu")
    with pytest.raises(UsageError, match="no node of the Ray cluster has a GPU"):
        uses_gpus([HEAD], "cuda")
    with pytest.raises(UsageError, match="--device cuda:1: Ray gives every worker a GPU"):
        uses_gpus([LARGE], "cuda:1")


def test_a_node_without_the_files_says_so(make_model, tmp_path):
    away = tmp_path / "not" / "mounted"
    said = Worker().load([make_model()], {}, threads=1, needed=[tmp_path, away])
    assert said.startswith(f"{away} is not there; model, scans and output must lie under the same")
