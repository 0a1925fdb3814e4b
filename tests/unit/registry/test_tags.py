"""The choice of the previous image's tag among many."""

from __future__ import annotations

import re

import pytest

from rechunk_podman.errors import UsageError
from rechunk_podman.registry.tags import date_of, is_attached, newest, series_of

DAY = 86400


def never(tag):
    raise AssertionError(f"asked for the time of {tag}")


@pytest.mark.parametrize(
    ("tag", "when", "counter"),
    [
        ("40-20240101", 1704067200, 0),
        ("40-20240101.2", 1704067200, 2),
        ("candidate.2024-01-01", 1704067200, 0),
        ("2024.01.01", 1704067200, 0),
        ("v1_240101", 1704067200, 0),
        ("240101.1-arm64", 1704067200, 1),
        ("20230101-20240101", 1704067200, 0),
        ("19700102", DAY, 0),
    ],
)
def test_dates_in_tags(tag, when, counter):
    found = date_of(tag)
    assert found is not None
    assert (found.when, found.counter, found.named) == (when, counter, True)


@pytest.mark.parametrize(
    "tag", ["latest", "40", "40-20241301", "40-20240230", "1.2.3", "999999999", "40-2024011"]
)
def test_tags_without_a_date(tag):
    assert date_of(tag) is None


@pytest.mark.parametrize("suffix", ["", ".sig", ".att", ".sbom"])
def test_signatures_and_the_like(suffix):
    tag = "sha256-" + "0" * 64 + suffix
    assert is_attached(tag)
    assert newest([tag], ".", created=never) is None


def test_the_newest_that_matches():
    tags = ["latest", "40", "40-20240101", "40-20240301", "40-20240201", "41-20240401", "40-20240301-testing"]
    found = newest(tags, "^40-[0-9]{8}$", created=never)
    assert found is not None
    assert found.tag == "40-20240301"


def test_counters_of_one_day():
    tags = ["40-20240101", "40-20240101.2", "40-20240101.10", "40-20231231.11"]
    assert newest(tags, "^40-", created=never).tag == "40-20240101.10"


def test_before():
    tags = ["40-20240101", "40-20240101.1", "40-20240201"]
    assert newest(tags, "^40-", before="40-20240201", created=never).tag == "40-20240101.1"
    assert newest(tags, "^40-", before="40-20240101.1", created=never).tag == "40-20240101"
    assert newest(tags, "^40-", before="40-20240101", created=never) is None
    assert newest(tags, "^40-", before="40-20250101", created=never).tag == "40-20240201"


def test_tags_without_dates_are_told_by_their_images():
    made = {"v1": 3 * DAY, "v2": 2 * DAY, "v3": None}
    assert newest(made, "^v", created=made.get).tag == "v1"
    assert newest(made, "^v", before="v1", created=made.get).tag == "v2"
    assert newest(["v3"], "^v", created=made.get) is None


def test_a_date_and_a_time_are_comparable():
    made = {"v1": 1704067200 + 3600}
    assert newest(["v1", "x-20240101"], ".", created=made.get).tag == "v1"
    assert newest(["v1", "x-20240102"], ".", created=made.get).tag == "x-20240102"


def test_tags_that_name_no_image_are_left_out():
    asked = []

    def is_image(tag):
        asked.append(tag)
        return tag == "40-20240201"

    tags = ["40-20240101", "40-20240201", "40-20240301", "40-20240401"]
    assert newest(tags, "^40-", created=never, is_image=is_image).tag == "40-20240201"
    assert asked == ["40-20240401", "40-20240301", "40-20240201"]


@pytest.mark.parametrize(
    ("tag", "there", "narrowest"),
    [
        ("20261128", ["20261121", "latest"], 0),
        ("40-20261128.1", ["40-20261128", "41-20261128"], 0),
        ("40-20261128", ["40-20261128.2", "40-20261127-testing"], 0),
        ("40-20261128", ["41-20261127"], 1),
        ("v1.10", ["v1.9"], 0),
        ("testing", ["stable"], 1),
    ],
)
def test_the_series_of_a_tag(tag, there, narrowest):
    patterns = series_of(tag)
    matches = [any(re.search(pattern, other) for other in there) for pattern in patterns]
    assert matches.index(True) == narrowest
    assert [other for other in there if re.search(patterns[narrowest], other)][:1] == there[:1]


def test_none_yet():
    assert newest([], ".", created=never) is None


def test_wrong_calls():
    with pytest.raises(UsageError, match="no regular expression"):
        newest([], "(", created=never)
    with pytest.raises(UsageError, match="there is no such tag"):
        newest(["40-20240101"], ".", before="latest", created=never)
