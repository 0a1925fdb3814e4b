"""The downloads of an update, and their reasons."""

from __future__ import annotations

import json
from dataclasses import replace

from rechunk_podman.cli.diff_text import reason, total_lines
from rechunk_podman.explain.causes import TEXTS, causes, verdict
from rechunk_podman.explain.documents import update_document
from rechunk_podman.explain.download import Update, compare
from rechunk_podman.explain.inspect import describe
from rechunk_podman.model import TAR_FORMAT
from rechunk_podman.oci.config import HistoryEntry
from rechunk_podman.oci.documents import ImageRecord
from support.described import NOW, Content, component, image, layer, ledger_of

SSL1, SSL2 = component("dpkg/openssl", version="3.0.1"), component("dpkg/openssl", version="3.0.2")
ZLIB = component("dpkg/zlib", version="1.3")
CURL = component("dpkg/curl", version="8.5")
BASH = component("dpkg/bash", version="5.2")
ETC1, ETC2 = component("unclaimed/etc", "one"), component("unclaimed/etc", "two")


def described(*contents: Content, **fields: object) -> ImageRecord:
    """An image with the Ledger of its layers."""
    return image(*contents, ledger=ledger_of(contents), **fields)


def update(old: ImageRecord, new: ImageRecord) -> Update:
    return compare(describe(old), describe(new))


def statuses(found: Update) -> list[str]:
    return [entry.status for entry in found.layers]


def test_the_same_image():
    found = update(*[described(layer(SSL1), layer(ETC1))] * 2)
    assert statuses(found) == ["kept", "kept"]
    assert (found.downloaded, found.first_changed, found.reextracted) == (0, None, 0)
    assert found.components("unchanged")
    assert not found.components("changed")


def test_a_package_and_what_came_with_it():
    old = described(layer(BASH, size=50), layer(SSL1, ZLIB, CURL, size=1000), layer(ETC1, size=10))
    new = described(layer(BASH, size=50), layer(SSL2, ZLIB, CURL, size=1001), layer(ETC1, size=10))
    found = update(old, new)
    assert statuses(found) == ["kept", "changed", "kept"]
    assert (found.downloaded, found.bytes("kept")) == (1001, 60)
    assert (found.first_changed, found.reextracted) == (2, 1011)
    (change,) = found.components("changed")
    assert (change.name, change.old_version, change.new_version) == ("dpkg/openssl", "3.0.1", "3.0.2")
    changed = found.layers[1]
    assert [c.name for c in changed.of("unchanged")] == ["dpkg/curl", "dpkg/zlib"]
    assert changed.came_from == (2,)
    assert not changed.ride_known
    assert reason(changed) == "changed: dpkg/openssl 3.0.1 → 3.0.2; along for the ride: dpkg/curl, dpkg/zlib"


def test_a_file_that_changed_in_a_package_of_one_version():
    """A `sed -i` in a package's file: the content is another, the version is not."""
    edited = replace(ZLIB, fingerprint=b"\xff" * 8)
    found = update(described(layer(SSL1), layer(ZLIB)), described(layer(SSL1), layer(edited)))
    assert [(c.name, c.old_version, c.new_version) for c in found.components("changed")] == [
        ("dpkg/zlib", "1.3", "1.3")
    ]
    assert reason(found.layers[1]) == "changed: dpkg/zlib 1.3"


def test_new_and_removed():
    old = described(layer(SSL1, ZLIB), layer(ETC1))
    new = described(layer(SSL1, CURL), layer(ETC1))
    found = update(old, new)
    assert [c.name for c in found.components("new")] == ["dpkg/curl"]
    assert [(c.name, c.old_version) for c in found.removed] == [("dpkg/zlib", "1.3")]
    assert found.layers[0].removed == ("dpkg/zlib",)
    assert reason(found.layers[0]) == (
        "new: dpkg/curl 8.5; removed: dpkg/zlib; along for the ride: dpkg/openssl"
    )


def test_what_rides_along_has_a_size_where_it_was_a_layer():
    old = described(layer(SSL1, size=500), layer(ZLIB, CURL, size=300), layer(BASH, size=40))
    new = described(layer(SSL2, ZLIB, CURL, BASH, size=840))
    entry = update(old, new).layers[0]
    assert (entry.ride_bytes, entry.ride_known, entry.came_from) == (340, True, (2, 3))
    assert "along for the ride (340 B)" in reason(entry)
    partly = update(old, described(layer(SSL2, ZLIB, BASH, size=840))).layers[0]
    assert (partly.ride_bytes, partly.ride_known) == (40, False)
    assert "along for the ride (at least 40 B)" in reason(partly)


def test_packed_anew():
    old = described(layer(SSL1, size=500), layer(ZLIB, size=300), layer(CURL, size=30))
    new = described(layer(SSL1, ZLIB, size=800), layer(CURL, size=30))
    entry = update(old, new).layers[0]
    assert (entry.ride_bytes, entry.ride_known) == (800, True)
    assert reason(entry) == (
        "packed anew (from layers 1, 2), along for the ride (800 B): dpkg/openssl, dpkg/zlib"
    )
    new = described(layer(SSL1, size=500), layer(ZLIB, size=300))
    alone = update(described(layer(SSL1, ZLIB, size=800)), new).layers[0]
    assert reason(alone) == "packed anew (from layer 1), along for the ride (500 B): dpkg/openssl"


def test_order_alone_is_no_download_but_is_unpacked():
    one, two, three = layer(SSL1, size=500), layer(ZLIB, size=300), layer(CURL, size=30)
    found = update(described(one, two, three), described(one, three, two))
    assert found.downloaded == 0
    assert (found.first_changed, found.reextracted) == (2, 330)
    assert [entry.old for entry in found.layers] == [1, 3, 2]


def test_a_layer_more_at_the_top():
    one, two = layer(SSL1, size=500), layer(ZLIB, size=300)
    found = update(described(one), described(one, two))
    assert (found.downloaded, found.first_changed, found.reextracted) == (300, 2, 300)
    assert update(described(one, two), described(one)).first_changed is None


def test_recompressed_counts_as_downloaded_and_is_told_apart():
    one = layer(SSL1, size=500)
    found = update(described(replace(one, blob="gzip 6")), described(replace(one, blob="gzip 9", size=400)))
    assert statuses(found) == ["recompressed"]
    assert (found.downloaded, found.bytes("recompressed"), found.first_changed) == (400, 400, None)
    assert [c.status for c in found.layers[0].components] == ["unchanged"]
    assert reason(found.layers[0]).startswith("recompressed: the content of layer 1 in another blob")
    assert found.notes == ()


def test_a_registry_against_local_storage_says_so():
    one = layer(SSL1, size=500)
    found = update(described(replace(one, blob="gzip")), described(one))
    assert statuses(found) == ["recompressed"]
    assert any("not compressed alike" in note for note in found.notes)


def test_one_blob_in_two_places_is_fetched_once():
    empty = layer(extra="empty", size=32)
    found = update(image(layer(SSL1)), image(layer(SSL1), empty, empty))
    assert statuses(found) == ["kept", "changed", "repeated"]
    assert found.downloaded == 32


def test_documents_without_blobs_are_matched_by_content():
    old = described(layer(SSL1), layer(ZLIB), manifest=False)
    new = described(layer(SSL2, size=70), layer(ZLIB, size=60))
    found = update(old, new)
    assert statuses(found) == ["changed", "kept"]
    assert found.downloaded == 70
    assert any("diff_id" in note for note in found.notes)
    unknown = update(new, described(layer(SSL1), layer(ZLIB), manifest=False))
    assert (unknown.downloaded, unknown.unknown_sizes) == (0, 1)


def test_without_ledgers_only_names_are_known():
    """An image of chunkah: what came and went, but not what changed."""

    def chunkah(names: str, extra: str) -> Content:
        return layer(extra=extra, history=HistoryEntry(created_by="chunkah", comment=names))

    old = image(chunkah("rpm/bash rpm/glibc", "a"), chunkah("rpm/zlib", "b"), chunkah("rpm/gone", "c"))
    new = image(chunkah("rpm/bash rpm/curl rpm/glibc", "a2"), chunkah("rpm/zlib", "b2"))
    found = update(old, new)
    assert [c.name for c in found.components("new")] == ["rpm/curl"]
    assert [c.name for c in found.components("changed")] == ["rpm/zlib"]
    assert [c.name for c in found.components("unknown")] == ["rpm/bash", "rpm/glibc"]
    assert [c.name for c in found.removed] == ["rpm/gone"]
    assert "something in: rpm/bash, rpm/glibc" in reason(found.layers[0])
    assert any("ledger missing" in note for note in found.notes)


def test_other_images_are_told_by_what_made_their_layers():
    base = layer(extra="base")
    app = layer(extra="app", history=HistoryEntry(created_by="COPY app /app"))
    found = update(image(base), image(base, app))
    assert statuses(found) == ["kept", "changed"]
    assert reason(found.layers[1]) == "new layer: COPY app /app"


def test_a_shorter_fingerprint_is_compared_as_far_as_it_goes():
    old, new = (layer(SSL1), layer(ZLIB)), (layer(SSL2), layer(ZLIB, extra="moved"))
    ledger = ledger_of(old)
    short = {i: replace(r, fingerprint=r.fingerprint[:4]) for i, r in ledger.components.items()}
    found = update(image(*old, ledger=replace(ledger, components=short)), image(*new, ledger=ledger_of(new)))
    assert [c.name for c in found.components("changed")] == ["dpkg/openssl"]
    assert [c.name for c in found.components("unchanged")] == ["dpkg/zlib"]


def test_other_rules_of_writing_say_nothing_of_packages():
    old, new = (layer(SSL1), layer(ZLIB)), (layer(SSL2), layer(replace(ZLIB, fingerprint=b"\1" * 8)))
    before = replace(ledger_of(old), tar_format=TAR_FORMAT + 1)
    found = update(image(*old, ledger=before), image(*new, ledger=ledger_of(new)))
    assert [c.name for c in found.components("changed")] == ["dpkg/openssl"]
    assert [c.name for c in found.components("unchanged")] == ["dpkg/zlib"]
    assert any("different rules" in note for note in found.notes)


def test_json():
    old = described(layer(SSL1, ZLIB, size=1000), layer(ETC1, size=10))
    new = described(layer(SSL2, ZLIB, size=1001), layer(ETC1, size=10), name="new")
    document = json.loads(json.dumps(update_document(update(old, new))))
    assert document["new"]["name"] == "new"
    assert document["download"] == {"bytes": 1001, "layers": 1, "unknown_sizes": 0}
    assert document["kept"] == {"bytes": 10, "layers": 1}
    assert document["first_changed"] == 1
    assert document["reextracted"] == 1011
    assert document["components"]["changed"] == [
        {"id": "dpkg/openssl", "old_version": "3.0.1", "new_version": "3.0.2"}
    ]
    assert document["components"]["unchanged"] == 2
    assert [entry["status"] for entry in document["layers"]] == ["changed", "kept"]
    ride = document["layers"][0]["along_for_the_ride"]
    assert (ride["components"], ride["complete"]) == (1, False)


def test_dates_do_not_matter():
    """The same layers, recorded at another time."""
    contents = (layer(SSL1), layer(ETC2))
    later = image(*contents, ledger=ledger_of(contents, date=NOW + 1))
    assert update(described(*contents), later).downloaded == 0


def sums(found: Update) -> dict[str, tuple[int, int, bool]]:
    assert sum(cause.bytes for cause in causes(found)) == found.downloaded
    return {cause.name: (cause.bytes, cause.layers, cause.at_least) for cause in causes(found)}


def test_bytes_by_cause():
    """The most expensive first; what came along is known where it was a layer of its own."""
    old = described(
        *(layer(SSL1, size=500), layer(ZLIB, size=300), layer(BASH, size=40)),
        *(layer(CURL, size=90), layer(ETC1, size=9)),
    )
    new = described(layer(SSL2, ZLIB, size=900), layer(BASH, CURL, size=130), layer(ETC2, size=10))
    found = update(old, new)
    assert sums(found) == {
        "packages": (600, 1, False),
        "came along": (300, 1, False),
        "moved": (130, 1, False),
        "files": (10, 1, False),
    }
    lines = total_lines(found)
    assert [line.split("  ")[-1] for line in lines[1:5]] == [TEXTS[cause.name] for cause in causes(found)]
    assert verdict(found) == (
        "A client that has an-image downloads 1.0 kB of 1.0 kB for an-image, "
        "most of it changed packages (600 B)."
    )


def test_causes_that_cannot_be_told_apart():
    old = described(layer(SSL1, ETC1, ZLIB, CURL, size=500))
    new = described(layer(SSL2, ETC2, ZLIB, CURL, size=500))
    assert sums(update(old, new)) == {"packages and files": (500, 1, False)}
    base = layer(extra="base")
    app = layer(extra="app", size=70, history=HistoryEntry(created_by="COPY app /app"))
    assert sums(update(image(base), image(base, app))) == {"unknown": (70, 1, False)}
    anew = update(described(replace(base, blob="gzip 6")), described(replace(base, blob="gzip 9")))
    assert sums(anew) == {"recompressed": (100, 1, False)}
    partly = update(
        described(layer(SSL1, size=500), layer(ZLIB, CURL, size=300), layer(BASH, size=40)),
        described(layer(SSL2, ZLIB, BASH, size=840)),
    )
    assert sums(partly) == {"packages": (800, 1, False), "came along": (40, 1, True)}
    assert any("at least 40 B" in line for line in total_lines(partly))


def test_the_verdict_says_what_would_have_helped():
    """A plan without memory moved what did not change; one with memory is not told to have some."""
    old = described(layer(SSL1, size=500), layer(ZLIB, size=300), layer(CURL, size=30))
    moved = (layer(SSL1, ZLIB, size=800), layer(CURL, size=30))
    assert "; planned with --previous, what did not change would have stayed" in verdict(
        update(old, described(*moved))
    )
    remembered = image(*moved, ledger=ledger_of(moved, ledger_of((layer(ETC1),)), date=NOW + 86_400))
    assert verdict(update(old, remembered)).endswith("all of it moved by the plan, unchanged.")
    assert verdict(update(old, old)) == "A client that has an-image downloads nothing for an-image."


def test_what_local_storage_unpacks_is_no_riddle():
    """It is counted in layers, since the table of downloads may begin with a higher number."""
    kept = [layer(component(f"dpkg/kept-{n}"), size=10) for n in range(3)]
    old = described(kept[0], layer(SSL1, size=500), *kept[1:])
    new = described(kept[0], layer(SSL2, size=500), *kept[1:])
    assert total_lines(update(old, new))[-1] == (
        "local storage unpacks 520 B, 3 layers: the stacks of both images differ from number 2 on, and each "
        "layer from there on is unpacked anew, downloaded or not"
    )
