"""The registry of review dumps: what each is called, where it is from, where it is looked for."""

import difflib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from podprep.contract.errors import PodError

DATA_VARIABLE = "PODPREP_DATA"

_SNAP = "https://snap.stanford.edu/data/amazon/productGraph/categoryFiles"
_MCAULEY = "https://mcauleylab.ucsd.edu/public_datasets/data"

# The 2014 categories that the papers use have short names.
_SHORT = {"Beauty": "beauty", "Sports_and_Outdoors": "sports", "Toys_and_Games": "toys"}

_CATEGORIES_2023 = (
    "All_Beauty Amazon_Fashion Appliances Arts_Crafts_and_Sewing Automotive "
    "Baby_Products Beauty_and_Personal_Care Books CDs_and_Vinyl "
    "Cell_Phones_and_Accessories Clothing_Shoes_and_Jewelry Digital_Music Electronics "
    "Gift_Cards Grocery_and_Gourmet_Food Handmade_Products Health_and_Household "
    "Health_and_Personal_Care Home_and_Kitchen Industrial_and_Scientific Kindle_Store "
    "Magazine_Subscriptions Movies_and_TV Musical_Instruments Office_Products "
    "Patio_Lawn_and_Garden Pet_Supplies Software Sports_and_Outdoors Subscription_Boxes "
    "Tools_and_Home_Improvement Toys_and_Games Video_Games Unknown"
)

# Categories of each release with the number of reviews in the dump, None where no exact number
# was found. The dumps of 2014 and 2018 are the 5-core files, those of 2023 are raw.
CATEGORIES: dict[str, dict[str, int | None]] = {
    "2014": {
        "Amazon_Instant_Video": 37_126,
        "Apps_for_Android": 752_937,
        "Automotive": 20_473,
        "Baby": 160_792,
        "Beauty": 198_502,
        "Books": 8_898_041,
        "CDs_and_Vinyl": 1_097_592,
        "Cell_Phones_and_Accessories": 194_439,
        "Clothing_Shoes_and_Jewelry": 278_677,
        "Digital_Music": 64_706,
        "Electronics": 1_689_188,
        "Grocery_and_Gourmet_Food": 151_254,
        "Health_and_Personal_Care": 346_355,
        "Home_and_Kitchen": 551_682,
        "Kindle_Store": 982_619,
        "Movies_and_TV": 1_697_533,
        "Musical_Instruments": 10_261,
        "Office_Products": 53_258,
        "Patio_Lawn_and_Garden": 13_272,
        "Pet_Supplies": 157_836,
        "Sports_and_Outdoors": 296_337,
        "Tools_and_Home_Improvement": 134_476,
        "Toys_and_Games": 167_597,
        "Video_Games": 231_780,
    },
    "2018": {
        "AMAZON_FASHION": 3_176,
        "All_Beauty": 5_269,
        "Appliances": 2_277,
        "Arts_Crafts_and_Sewing": 494_485,
        "Automotive": 1_711_519,
        "Books": 27_164_983,
        "CDs_and_Vinyl": 1_443_755,
        "Cell_Phones_and_Accessories": 1_128_437,
        "Clothing_Shoes_and_Jewelry": 11_285_464,
        "Digital_Music": 169_781,
        "Electronics": 6_739_590,
        "Gift_Cards": None,
        "Grocery_and_Gourmet_Food": 1_143_860,
        "Home_and_Kitchen": 6_898_955,
        "Industrial_and_Scientific": 77_071,
        "Kindle_Store": 2_222_983,
        "Luxury_Beauty": 34_278,
        "Magazine_Subscriptions": 2_375,
        "Movies_and_TV": 3_410_019,
        "Musical_Instruments": 231_392,
        "Office_Products": None,
        "Patio_Lawn_and_Garden": None,
        "Pet_Supplies": 2_098_325,
        "Prime_Pantry": None,
        "Software": 12_805,
        "Sports_and_Outdoors": 2_839_940,
        "Tools_and_Home_Improvement": 2_070_831,
        "Toys_and_Games": 1_828_971,
        "Video_Games": 497_577,
    },
    "2023": dict.fromkeys(_CATEGORIES_2023.split()),
}

# Bytes and SHA-256 by local file name. Only what independent downloads agree on, or what was
# read off the address itself: a wrong number here would refuse a good file.
_KNOWN: dict[str, tuple[int, str | None]] = {
    "reviews_Beauty_5.json.gz": (
        44_819_276,
        "e5925ec99023f1dc9c7d3dff7ef34cfeacd40d1b981b5525e1e4ba9c8abc18fe",
    ),
    "meta_Beauty.json.gz": (
        99_156_148,
        "c7977dc0e0ead14ac7df8c1c6de74da00e4bebfad87a0f0c5763d4c5bc9b53a0",
    ),
    "reviews_Musical_Instruments_5.json.gz": (
        2_460_495,
        "03f9cc27ae13a454cb4ea6cb620fb10546cc1194ef921441d1c5f34addff2748",
    ),
    "Musical_Instruments_5.json.gz": (
        39_353_085,
        "e3ae8a3f0d70bf63242a49539a8847d30216a3aa2938c049c7f43d0473fef1bc",
    ),
}


@dataclass(frozen=True)
class Source:
    """One review dump and its product metadata; the sample has no addresses."""

    name: str
    release: str
    category: str
    file: str
    meta_file: str
    url: str | None = None
    meta_url: str | None = None
    size: int | None = None
    sha256: str | None = None
    meta_size: int | None = None
    meta_sha256: str | None = None
    reviews: int | None = None


def _source(release: str, category: str) -> Source:
    short = _SHORT.get(category) if release == "2014" else None
    meta_file = f"meta_{category}.json.gz"
    if release == "2014":
        file = f"reviews_{category}_5.json.gz"
        url, meta_url = f"{_SNAP}/{file}", f"{_SNAP}/{meta_file}"
    elif release == "2018":
        file = f"{category}_5.json.gz"
        url = f"{_MCAULEY}/amazon_v2/categoryFilesSmall/{file}"
        meta_url = f"{_MCAULEY}/amazon_v2/metaFiles2/{meta_file}"
        # At its source it has the very name of the 2014 file; in one folder they would be mixed.
        meta_file = f"meta_{category}_2018.json.gz"
    else:
        file, meta_file = f"{category}.jsonl.gz", f"meta_{category}.jsonl.gz"
        url = f"{_MCAULEY}/amazon_2023/raw/review_categories/{file}"
        meta_url = f"{_MCAULEY}/amazon_2023/raw/meta_categories/{meta_file}"
    size, sha256 = _KNOWN.get(file, (None, None))
    meta_size, meta_sha256 = _KNOWN.get(meta_file, (None, None))
    return Source(
        name=short or f"{release}/{category}",
        release=release,
        category=category,
        file=file,
        meta_file=meta_file,
        url=url,
        meta_url=meta_url,
        size=size,
        sha256=sha256,
        meta_size=meta_size,
        meta_sha256=meta_sha256,
        reviews=CATEGORIES[release][category],
    )


DATASETS: dict[str, Source] = {
    **{short: _source("2014", category) for category, short in _SHORT.items()},
    "sample": Source("sample", "2014", "Sample", "sample.json.gz", "meta_sample.json.gz"),
}


def _key(category: str) -> str:
    """The category's words alone: `Toys & Games` and `toys_and_games` are one."""
    words = re.split(r"[\W_]+", category.casefold())
    return "_".join(word for word in words if word not in ("", "and"))


def resolve(name: str) -> Source:
    """The dataset of that name: a short one, or RELEASE/Category such as `2023/All_Beauty`.

    Raises PodError with close matches where there is no such category or no such name.
    """
    name = name.strip()
    if name.casefold() in DATASETS:
        return DATASETS[name.casefold()]
    release, slash, category = name.partition("/")
    if slash and release in CATEGORIES:
        categories = {_key(known): known for known in CATEGORIES[release]}
        key = _key(category)
        if key in categories:
            return _source(release, categories[key])
        near = difflib.get_close_matches(key, categories)
        hint = "did you mean" if near else "it has"
        options = ", ".join(f"{release}/{categories[match]}" for match in near or categories)
        message = f"release {release} has no category {category!r}: {hint} {options}"
        raise PodError(message)
    names: dict[str, list[str]] = {short: [short] for short in DATASETS}
    for year, known_categories in CATEGORIES.items():
        for known in known_categories:
            names.setdefault(_key(known), []).append(f"{year}/{known}")
    near = difflib.get_close_matches(_key(name), names, n=1)
    hint = f"did you mean {' or '.join(names[near[0]])}? Else " if near else ""
    message = (
        f"no dataset {name!r}: {hint}there are {', '.join(DATASETS)}, and RELEASE/Category "
        f"for the releases {', '.join(CATEGORIES)}, such as 2023/All_Beauty"
    )
    raise PodError(message)


def data_folder() -> Path:
    """The folder dumps are looked for in and downloaded to."""
    return Path(os.environ.get(DATA_VARIABLE) or "data").expanduser()


def variants(path: Path) -> Iterator[Path]:
    """The path itself, then the same dump plain and compressed otherwise."""
    plain = path.with_suffix("")
    yield path
    yield plain
    yield plain.with_name(plain.name + ".zst")


def search_paths(dataset: Source, *, meta: bool = False) -> list[Path]:
    """Where the dump is looked for, in order; nowhere for the sample, which is generated."""
    if dataset.url is None:
        return []
    return list(variants(data_folder() / (dataset.meta_file if meta else dataset.file)))


def every_dataset() -> list[Source]:
    """Every dataset that has a name, the short names first."""
    regular = (_source(release, c) for release in CATEGORIES for c in CATEGORIES[release])
    return [*DATASETS.values(), *(d for d in regular if d.name not in DATASETS)]


def locate(dataset: Source, raw: Path | None = None, *, meta: bool = False) -> Path | None:
    """The dump on this machine, or None; `raw` names it outright.

    Raises PodError where `raw` is not a file.
    """
    if raw is not None:
        if raw.is_dir() or not raw.exists():
            message = f"no file {raw}: give the dump of {dataset.name}, such as {dataset.file}"
            raise PodError(message)
        return raw
    return next((path for path in search_paths(dataset, meta=meta) if path.is_file()), None)
