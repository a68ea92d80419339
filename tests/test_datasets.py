"""The registry: names, addresses, and where a dump is looked for."""

from pathlib import Path

import pytest

from podprep.contract.errors import PodError
from podprep.raw.datasets import CATEGORIES, DATASETS, locate, resolve, search_paths

ALL = [f"{release}/{category}" for release, known in CATEGORIES.items() for category in known]


def test_short_names_are_the_2014_5_core_dumps() -> None:
    assert list(DATASETS) == ["beauty", "sports", "toys", "sample"]
    assert resolve(" Toys ") is DATASETS["toys"]
    assert resolve("2014/Beauty") == DATASETS["beauty"]
    assert [DATASETS[name].reviews for name in ("beauty", "sports", "toys")] == [
        198_502,
        296_337,
        167_597,
    ]


def test_addresses_of_each_release() -> None:
    snap = "https://snap.stanford.edu/data/amazon/productGraph/categoryFiles"
    mcauley = "https://mcauleylab.ucsd.edu/public_datasets/data"
    old, middle, new = resolve("toys"), resolve("2018/All_Beauty"), resolve("2023/All_Beauty")
    assert old.url == f"{snap}/reviews_Toys_and_Games_5.json.gz"
    assert old.meta_url == f"{snap}/meta_Toys_and_Games.json.gz"
    assert middle.url == f"{mcauley}/amazon_v2/categoryFilesSmall/All_Beauty_5.json.gz"
    assert middle.meta_url == f"{mcauley}/amazon_v2/metaFiles2/meta_All_Beauty.json.gz"
    assert new.url == f"{mcauley}/amazon_2023/raw/review_categories/All_Beauty.jsonl.gz"
    assert new.meta_url == f"{mcauley}/amazon_2023/raw/meta_categories/meta_All_Beauty.jsonl.gz"


def test_sizes_of_releases() -> None:
    assert [len(known) for known in CATEGORIES.values()] == [24, 29, 34]


def test_no_two_files_share_a_name() -> None:
    datasets = [resolve(name) for name in ALL]
    files = [file for dataset in datasets for file in (dataset.file, dataset.meta_file)]
    assert len(set(files)) == len(files)


@pytest.mark.parametrize(
    ("name", "category"),
    [
        ("2018/amazon_fashion", "AMAZON_FASHION"),
        ("2014/Toys & Games", "Toys_and_Games"),
        ("2014/Clothing, Shoes and Jewelry", "Clothing_Shoes_and_Jewelry"),
        ("2023/movies-and-tv", "Movies_and_TV"),
        ("2023/CDs_Vinyl", "CDs_and_Vinyl"),
    ],
)
def test_category_names_are_normalised(name: str, category: str) -> None:
    assert resolve(name).category == category


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("2014/Musical_Instrument", "2014/Musical_Instruments"),
        ("2014/zzz", "it has 2014/Amazon_Instant_Video"),
        ("2023/../etc/passwd", "release 2023 has no category"),
        ("buety", "did you mean beauty"),
        ("Gift_Cards", "2018/Gift_Cards or 2023/Gift_Cards"),
        ("2015/Beauty", "the releases 2014, 2018, 2023"),
        ("", "beauty, sports, toys, sample"),
    ],
)
def test_an_unknown_name_is_told_what_there_is(name: str, said: str) -> None:
    with pytest.raises(PodError) as error:
        resolve(name)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", [*DATASETS, *ALL])
def test_every_listed_name_resolves_to_itself(name: str) -> None:
    dataset = resolve(name)
    assert resolve(dataset.name) == dataset


def test_looked_for_in_data_or_the_folder_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PODPREP_DATA", raising=False)
    assert search_paths(resolve("beauty")) == [
        Path("data/reviews_Beauty_5.json.gz"),
        Path("data/reviews_Beauty_5.json"),
        Path("data/reviews_Beauty_5.json.zst"),
    ]
    monkeypatch.setenv("PODPREP_DATA", "elsewhere")
    assert search_paths(resolve("2018/Software"), meta=True)[0] == Path(
        "elsewhere/meta_Software_2018.json.gz"
    )
    assert search_paths(resolve("sample")) == []


def test_locate_takes_the_first_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PODPREP_DATA", str(tmp_path))
    beauty = resolve("beauty")
    assert locate(beauty) is None
    (tmp_path / "reviews_Beauty_5.json.gz").mkdir()
    packed = tmp_path / "reviews_Beauty_5.json.zst"
    packed.touch()
    assert locate(beauty) == packed
    plain = tmp_path / "reviews_Beauty_5.json"
    plain.touch()
    assert locate(beauty) == plain
    assert locate(beauty, meta=True) is None


def test_a_file_given_outright(tmp_path: Path) -> None:
    raw = tmp_path / "mine.json"
    raw.touch()
    assert locate(resolve("toys"), raw) == raw
    for missing in (tmp_path, tmp_path / "none.json"):
        with pytest.raises(PodError, match=r"reviews_Toys_and_Games_5\.json\.gz") as error:
            locate(resolve("toys"), missing)
        assert str(missing) in str(error.value)
