"""The components of an image: from its own record, from those of other tools, from none."""

from __future__ import annotations

import gzip
import json

import pytest
from typer.testing import CliRunner

from rechunk_podman.cli.app import application
from rechunk_podman.errors import UsageError
from rechunk_podman.explain.documents import image_document
from rechunk_podman.explain.inspect import describe, parse_comment
from rechunk_podman.explain.run import inspect
from rechunk_podman.oci.config import HistoryEntry
from support.described import NOW, component, image, layer, ledger_of
from support.oci_material import Layout, make_tar, member, sha256

DAY = 86_400
SSL = component("dpkg/openssl", version="3.0.1")
ZLIB = component("dpkg/zlib", version="1.3")
ETC = component("unclaimed/etc", "one")


def test_by_its_ledger():
    contents = (layer(SSL, ZLIB, size=4000, rate=51 / 255), layer(ETC, size=100, rate=1.0))
    facts = describe(image(*contents, ledger=ledger_of(contents)))
    assert [entry.number for entry in facts.layers] == [1, 2]
    assert facts.layers[0].components == ("dpkg/openssl", "dpkg/zlib")
    assert {entry.described_by for entry in facts.layers} == {"ledger"}
    assert facts.layers[0].expected == pytest.approx(800)
    assert facts.expected == pytest.approx(900)
    assert facts.size == 4100
    document = json.loads(json.dumps(image_document(facts)))
    assert document["layers"][0]["components"][0] == {"id": "dpkg/openssl", "version": "3.0.1"}
    assert document["ledger"]["components"] == 3
    assert document["ledger_problem"] is None


def test_plain_blobs_of_compressed_media_types_are_called_plain(tmp_path):
    """skopeo writes such layers from storage into a layout; an archive of them is read alike."""
    tar = make_tar([member("a", data=b"1")])
    layout = Layout(tmp_path / "layout").layer(tar, media_type="application/vnd.oci.image.layer.v1.tar+gzip")
    layout.layer(make_tar([member("b")]), stored=gzip.compress(make_tar([member("b")])))
    facts = inspect(f"oci:{layout.finish()}")
    assert [entry.compressed for entry in facts.layers] == [False, True]
    layout.file(sha256(tar)).unlink()  # what is not there has its media type alone
    assert [entry.compressed for entry in inspect(f"oci:{layout.path}").layers] == [True, True]


def test_a_first_plan_knows_no_rates():
    contents = (layer(SSL), layer(ETC))
    facts = describe(image(*contents, ledger=ledger_of(contents)))
    assert facts.expected is None
    assert {entry.rate for entry in facts.layers} == {None}


def test_the_releases_on_record():
    first = (layer(SSL, ZLIB), layer(ETC))
    one = ledger_of(first, date=NOW)
    second = (layer(component("dpkg/openssl", version="3.0.2"), ZLIB), layer(ETC))
    two = ledger_of(second, one, date=NOW + DAY)
    third = (*second, layer(component("dpkg/curl", version="8")))
    three = ledger_of(third, two, date=NOW + 2 * DAY)
    facts = describe(image(*third, ledger=three))
    assert [(r.date - NOW, r.changed, r.new) for r in facts.releases] == [
        (0, 0, 3),
        (DAY, 1, 0),
        (2 * DAY, 0, 1),
    ]
    assert image_document(facts)["ledger"]["releases"][0]["date"] == "2023-11-14T22:13:20Z"


def test_layers_above_those_of_the_ledger():
    contents = (layer(SSL, rate=0.5), layer(ETC, rate=0.5))
    above = layer(extra="app", size=7, history=HistoryEntry(created_by="COPY app /app"))
    facts = describe(image(*contents, ledger=ledger_of(contents), above=[above]))
    assert facts.derived
    assert facts.layers[2].described_by == "created_by"
    assert facts.layers[2].created_by == "COPY app /app"
    assert facts.layers[2].rate is None
    assert facts.size == 207


def test_without_a_ledger_our_own_annotations_and_comments():
    many = tuple(component(f"rpm/package-{number}") for number in range(30))
    noted = {"org.rechunk.component": "rpm/package-0,rpm/package-1"}
    facts = describe(image(layer(*many, annotations=noted), layer(*many[:20], extra="x")))
    assert facts.problem is not None
    assert facts.problem.reason == "missing"
    assert facts.layers[0].described_by == "annotation"
    assert facts.layers[0].components == ("rpm/package-0", "rpm/package-1")
    assert len(facts.layers[0].components) + facts.layers[0].more == 30
    assert facts.layers[1].described_by == "comment"
    assert len(facts.layers[1].components) + facts.layers[1].more == 20
    assert not facts.layers[1].complete


def test_an_image_of_chunkah():
    """created_by and author are its name, the comment the components (src/ocibuilder.rs)."""
    entry = HistoryEntry(created_by="chunkah", author="chunkah", comment="rpm/bash rpm/glibc")
    by_comment = describe(image(layer(extra="a", history=entry)))
    assert by_comment.layers[0].described_by == "comment"
    annotations = {"org.chunkah.component": "rpm/bash rpm/glibc", "org.chunkah.stability": "0.912"}
    by_annotation = describe(image(layer(extra="a", annotations=annotations, history=entry)))
    assert by_annotation.layers[0].described_by == "annotation"
    for facts in (by_comment, by_annotation):
        assert facts.layers[0].components == ("rpm/bash", "rpm/glibc")
        assert facts.layers[0].more == 0


def test_an_image_of_rpm_ostree():
    facts = describe(
        image(
            layer(extra="a", annotations={"ostree.components": "bash,glibc,zlib"}),
            layer(extra="b", history=HistoryEntry(created_by="ostree export of commit")),
        )
    )
    assert facts.layers[0].components == ("bash", "glibc", "zlib")
    assert facts.layers[1].components == ()
    assert facts.layers[1].described_by == "created_by"


def test_a_saved_config_has_no_sizes():
    contents = (layer(SSL, rate=0.5), layer(ETC, rate=0.5))
    facts = describe(image(*contents, ledger=ledger_of(contents), manifest=False))
    assert facts.size is None
    assert facts.expected is None
    assert facts.layers[0].compressed is None
    assert facts.layers[0].components == ("dpkg/openssl",)


def test_compressed_or_not():
    facts = describe(image(layer(SSL, blob="gzip"), layer(ETC)))
    assert [entry.compressed for entry in facts.layers] == [True, False]


def test_a_date_that_no_calendar_has():
    contents = (layer(SSL),)
    facts = describe(image(*contents, ledger=ledger_of(contents, date=1 << 39)))
    assert image_document(facts)["ledger"]["releases"] == [
        {"date": None, "epoch": 1 << 39, "changed": 0, "new": 1}
    ]


@pytest.mark.parametrize(
    ("text", "ours", "names", "more"),
    [
        ("rpm/a rpm/b +12 [01234567]", True, ("rpm/a", "rpm/b"), 12),
        ("rpm/a [01234567]", True, ("rpm/a",), 0),
        ("+3 [01234567]", True, (), 3),
        ("[01234567]", True, (), 0),
        ("", True, (), 0),
        ("rpm/a +3", False, ("rpm/a", "+3"), 0),
        ("rpm/libstdc++ [0123456x]", True, ("rpm/libstdc++", "[0123456x]"), 0),
    ],
)
def test_comments(text, ours, names, more):
    assert parse_comment(text, ours=ours) == (names, more)


def test_a_page_without_its_library_is_refused_first(tmp_path, monkeypatch):
    """Not after all layers were read; here there is not even an image."""
    monkeypatch.setattr("rechunk_podman.explain.report.treemap.find_spec", lambda name: None)
    words = ["inspect", "oci:none", "--html", str(tmp_path / "page.html")]
    error = CliRunner().invoke(application(), words).exception
    assert isinstance(error, UsageError)
    assert "rechunk-podman[report]" in str(error.hint)
