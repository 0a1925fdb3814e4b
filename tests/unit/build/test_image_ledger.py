"""The record in an image is written and found again; damaged records are refused."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import pytest

from rechunk_podman.build import image_ledger as record
from rechunk_podman.model import Plan, PlannedLayer
from rechunk_podman.oci.config import HistoryEntry, ImageConfig
from rechunk_podman.oci.spec import ANNOTATION_COMPONENT, ANNOTATION_STABILITY
from rechunk_podman.planning.ledger import LedgerError
from support.described import Content, component, image, layer, ledger_of

LAYERS = (
    layer(component("dpkg/openssl", version="3.0.1"), component("dpkg/zlib", version="1.3"), rate=0.5),
    layer(component("unclaimed/etc", "one")),
)


def reread(config: ImageConfig) -> ImageConfig:
    """Return the config as it is read from the output of `podman image inspect`."""
    document = {
        "Config": dict(config.config),
        "History": [
            {"created_by": e.created_by, "comment": e.comment, "empty_layer": e.empty_layer}
            for e in config.history
        ],
        "RootFS": {"Type": "layers", "Layers": list(config.diff_ids)},
    }
    return ImageConfig.parse(json.dumps([document]))


def problem(config: ImageConfig) -> str:
    with pytest.raises(LedgerError) as caught:
        record.find_ledger(config)
    assert caught.value.hint
    return caught.value.reason


def with_comment(config: ImageConfig, comment: str) -> ImageConfig:
    history = tuple(
        replace(entry, comment=comment) if entry.created_by == record.LEDGER_CREATED_BY else entry
        for entry in config.history
    )
    return replace(config, history=history)


def test_there_and_back():
    ledger = ledger_of(LAYERS)
    config = image(*LAYERS, ledger=ledger).config
    for form in (config, reread(config)):
        found = record.find_ledger(form)
        assert found.ledger == ledger
        assert not found.derived


def test_it_is_one_empty_entry_and_a_label_names_it():
    config = image(*LAYERS, ledger=ledger_of(LAYERS)).config
    entries = [entry for entry in config.history if entry.created_by == record.LEDGER_CREATED_BY]
    assert [entry.empty_layer for entry in entries] == [True]
    number, digest = config.labels[record.LEDGER_LABEL].split()
    assert digest == "sha256:" + hashlib.sha256(entries[0].comment.encode()).hexdigest()
    assert number.isdigit()
    assert all(len(value) < 200 for value in config.labels.values())
    assert record.without_ledger(config).labels == {}


def test_an_image_on_top_of_it_has_its_ledger():
    ledger = ledger_of(LAYERS)
    derived = image(*LAYERS, ledger=ledger, above=[layer(extra="copied")])
    found = record.find_ledger(derived.config)
    assert found.derived
    assert found.ledger == ledger


def test_its_own_ledger_goes_before_that_of_its_base():
    """An image that was split, and whose history still has its base's entry below its own."""
    config = image(*LAYERS, ledger=ledger_of(LAYERS)).config
    old = HistoryEntry(created_by=record.LEDGER_CREATED_BY, comment="the base's", empty_layer=True)
    assert not record.find_ledger(replace(config, history=(old, *config.history))).derived


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (image(*LAYERS).config, "missing"),
        (ImageConfig(), "missing"),
        (with_comment(image(*LAYERS, ledger=ledger_of(LAYERS)).config, ""), "missing"),
        (with_comment(image(*LAYERS, ledger=ledger_of(LAYERS)).config, "some words"), "nonsense"),
        (image(*LAYERS, ledger=ledger_of(LAYERS[:1])).config, None),
        (image(*LAYERS[:1], ledger=ledger_of(LAYERS)).config, "foreign"),
        (image(*LAYERS, ledger=ledger_of(LAYERS[::-1])).config, "foreign"),
        (replace(image(*LAYERS, ledger=ledger_of(LAYERS)).config, diff_ids=()), "foreign"),
    ],
    ids=["none", "empty", "blank", "words", "of its bottom", "of more", "of another order", "no layers"],
)
def test_only_a_ledger_of_these_layers_counts(config, reason):
    if reason is None:
        assert record.find_ledger(config).derived
    else:
        assert problem(config) == reason


def test_every_cut_of_it_is_a_problem_and_no_crash():
    config = image(*LAYERS, ledger=ledger_of(LAYERS)).config
    text = next(e.comment for e in config.history if e.created_by == record.LEDGER_CREATED_BY)
    reasons = {problem(with_comment(config, text[:length])) for length in range(len(text))}
    assert reasons <= {"missing", "truncated", "nonsense", "other format"}
    assert "truncated" in reasons


def test_diff_ids_that_are_none_are_a_problem_and_no_crash():
    config = image(*LAYERS, ledger=ledger_of(LAYERS)).config
    assert problem(replace(config, diff_ids=("sha256:xyz", *config.diff_ids[1:]))) == "foreign"


def test_remembered_warns_and_says_why(warnings):
    assert record.remembered(ImageConfig(), "the-image") is None
    assert warnings[0].startswith("the-image: ledger missing")
    assert "without memory" in warnings[1]


def test_inherited_is_silent_where_nobody_recorded_anything(warnings):
    assert record.inherited(ImageConfig(), "x") is None
    assert warnings == []
    broken = with_comment(image(*LAYERS, ledger=ledger_of(LAYERS)).config, "words")
    assert record.inherited(broken, "the-config") is None
    assert warnings[0].startswith("the-config: ledger nonsense")


def test_which_memory_is_which():
    one, two = ledger_of(LAYERS), ledger_of(LAYERS[:1])
    own = record.Found(one, derived=False)
    base, same = record.Found(two, derived=True), record.Found(two, derived=False)
    assert record.memories(None, None) == (None, None)
    assert record.memories(own, None) == (one, None)
    assert record.memories(None, base) == (None, two)
    assert record.memories(None, same) == (two, None)
    assert record.memories(own, base) == (one, two)
    assert record.memories(own, same) == (one, two)


def large(count: int) -> tuple[Content, ...]:
    """64 layers of `count` packages with versions."""
    packages = [
        component(f"rpm/package-number-{n}", version=f"{n % 7}.{n}.2-{n % 9}.fc41") for n in range(count)
    ]
    return tuple(layer(*packages[start::64]) for start in range(64))


def test_all_of_it_stays_small():
    contents = large(1200)
    config = image(*contents, ledger=ledger_of(contents)).config
    total = sum(len(json.dumps(entry.comment)) for entry in config.history)
    assert total <= 40 * 1024
    assert len(record.find_ledger(config).ledger.components) == 1200


def test_annotations_name_the_largest_first_and_end_in_time():
    many = [replace(component(f"rpm/some-package-{n:03}"), size=n) for n in range(200)]
    by_id = {entry.id: entry for entry in many}
    found = record.layer_annotations(PlannedLayer(tuple(by_id), rate=0.25), by_id)
    assert found[ANNOTATION_STABILITY] == "0.750"
    assert found[ANNOTATION_COMPONENT].startswith("rpm/some-package-199,rpm/some-package-198,")
    assert len(found[ANNOTATION_COMPONENT].encode()) <= record.ANNOTATION_LIMIT


def test_annotations_of_chunkah():
    """Every name, also one with a space, is a word of its own: scripts split at spaces."""
    names = [*(f"rpm/package-{n}" for n in range(200)), "unclaimed/opt/My App"]
    by_id = {entry.id: entry for entry in map(component, names)}
    found = record.layer_annotations(PlannedLayer(tuple(by_id), rate=0.0881), by_id)
    assert sorted(found["org.chunkah.component"].split(" ")) == sorted([*names[:-1], "unclaimed/opt/My_App"])
    assert found["org.chunkah.stability"] == "0.912"
    many = {entry.id: entry for entry in (component(f"rpm/package-{n}") for n in range(5000))}
    text = record.layer_annotations(PlannedLayer(tuple(many)), many)["org.chunkah.component"]
    assert record.CHUNKAH_LIMIT - 20 < len(text) <= record.CHUNKAH_LIMIT


def test_one_comment_a_layer():
    by_id = {entry.id: entry for content in LAYERS for entry in content.components}
    plan = Plan(tuple(PlannedLayer(tuple(c.id for c in content.components)) for content in LAYERS))
    history = record.layer_history(plan, by_id, [content.layer for content in LAYERS])
    assert [entry.comment.split()[0] for entry in history] == ["dpkg/openssl", "unclaimed/etc"]
    assert not any(entry.empty_layer for entry in history)
