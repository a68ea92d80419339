"""podtrain as a library: its examples run, on a run that was trained for a moment."""

import doctest
import shutil
from pathlib import Path

import pytest
import torch

import podprep
import podtrain
from podtrain import api


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sample dataset in shards/, and the same run in runs/a and runs/c."""
    folder = tmp_path_factory.mktemp("library")
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("PODPREP_DATA", str(folder))
        podprep.build("sample", out="shards", rounds=1)
        podtrain.fit("shards", out="runs/a", base="tiny", tasks="sequential", epochs=1)
        shutil.copytree("runs/a", "runs/c")
    return folder


def test_every_example_runs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    for example in doctest.DocTestFinder().find(api, extraglobs={"podtrain": podtrain}):
        runner.run(example)
    assert (runner.tries > 10, runner.failures) == (True, 0)


def test_all_public_functions_have_examples() -> None:
    classes = {"Recommender", "Run", "TrainableRecommender", "register", "__version__"}
    for name in set(podtrain.__all__) - classes:
        assert ">>> " in (getattr(podtrain, name).__doc__ or ""), name
