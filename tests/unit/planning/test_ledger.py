"""The Ledger: what advances, what is refused, how large it gets."""

from __future__ import annotations

import base64
import bz2
import hashlib
import random
import zlib

import pytest

from rechunk_podman.model import TAR_FORMAT, Component, ComponentId, Plan, PlannedLayer
from rechunk_podman.planning import codec
from rechunk_podman.planning.ledger import (
    FINGERPRINT_BYTES,
    MAX_RELEASES,
    Compressor,
    Ledger,
    LedgerError,
    decode,
    encode,
)

DAY = 86_400
START = 1_700_000_000


def component(name: str, content: str = "1", version: str = "") -> Component:
    fingerprint = hashlib.sha256(f"{name} {content}".encode()).digest()[:8]
    return Component(ComponentId("rpm", name), 1000, fingerprint, version=version)


def one_layer_each(image: list[Component]) -> tuple[Plan, list[str]]:
    planned = Plan(tuple(PlannedLayer((c.id,), rate=0.25) for c in image))
    return planned, ["sha256:" + hashlib.sha256(c.fingerprint).hexdigest() for c in image]


def record(
    previous: Ledger | None, image: list[Component], date: int, tar_format: int = TAR_FORMAT
) -> Ledger:
    return Ledger.advance(previous, image, *one_layer_each(image), date=date, tar_format=tar_format)


def test_changes_and_news_are_remembered_newest_first() -> None:
    first = record(None, [component("a"), component("b")], START)
    second = record(first, [component("a", "2"), component("b"), component("c")], START + DAY)
    third = record(second, [component("a", "2"), component("b"), component("c", "2")], START + 2 * DAY)
    known = {ident.name: entry for ident, entry in third.components.items()}
    assert bin(known["a"].changes) == "0b110"
    assert bin(known["b"].changes) == "0b100"
    assert bin(known["c"].changes) == "0b11"
    assert [known[name].age for name in "abc"] == [3, 3, 2]
    assert third.dates == (START, START + DAY, START + 2 * DAY)


def test_only_the_last_releases_are_kept() -> None:
    ledger = None
    for number in range(MAX_RELEASES + 10):
        ledger = record(ledger, [component("a", str(number)), component("b")], START + number * DAY)
    assert ledger is not None
    assert len(ledger.dates) == MAX_RELEASES
    assert ledger.components[ComponentId("rpm", "a")].changes == (1 << MAX_RELEASES) - 1
    assert ledger.components[ComponentId("rpm", "b")].changes == 0
    assert decode(encode(ledger)) == ledger


def test_a_rebuild_of_the_same_content_is_no_release() -> None:
    image = [component("a"), component("b")]
    ledger = record(record(None, [component("a", "0"), component("b")], START), image, START + DAY)
    assert record(ledger, image, START + 5 * DAY) == ledger


def test_another_tar_format_is_no_change_where_versions_agree() -> None:
    first = record(None, [component("a", "1", "1.0"), component("b", "1", "1.0")], START)
    image = [component("a", "tar 2", "1.0"), component("b", "tar 2", "1.1")]
    second = record(first, image, START + DAY, tar_format=TAR_FORMAT + 1)
    assert second.components[ComponentId("rpm", "a")].changes == 0b10
    assert second.components[ComponentId("rpm", "b")].changes == 0b11
    assert second.tar_format == TAR_FORMAT + 1


def test_plan_components_and_diff_ids_have_to_belong_together() -> None:
    image = [component("a"), component("b")]
    planned, diff_ids = one_layer_each(image)
    with pytest.raises(ValueError, match="belong together"):
        Ledger.advance(None, image, planned, diff_ids[:1], date=START)
    with pytest.raises(ValueError, match="belong together"):
        Ledger.advance(None, image[:1], planned, diff_ids, date=START)


def test_layers_are_named_by_their_diff_ids_and_the_compressor_is_kept() -> None:
    image = [component("a"), component("b")]
    planned, diff_ids = one_layer_each(image)
    zstd = Compressor("zstd", "1.5.7", 19)
    ledger = decode(encode(Ledger.advance(None, image, planned, diff_ids, date=START, compressor=zstd)))
    assert [layer.prefix.hex() for layer in ledger.layers] == [text[7:23] for text in diff_ids]
    assert ledger.compressor == zstd
    assert ledger.layer_of(ComponentId("rpm", "b")) == 1
    assert ledger.layer_of(ComponentId("rpm", "c")) is None


def test_names_that_are_not_utf8_survive() -> None:
    odd = Component(ComponentId("unclaimed", "opt/\udcff\n\0x"), 1, b"12345678", version="\udcfe")
    assert decode(encode(record(None, [odd], START))).components[odd.id].version == "\udcfe"


def long_series(count: int) -> Ledger:
    """A Ledger of `count` packages after many releases: names and versions of real shape."""
    chance = random.Random(1)
    words = ["core", "utils", "kde", "plasma", "python3", "perl", "gst", "plugins", "qt6", "font", "tools"]
    names = sorted(
        {
            f"{chance.choice(words)}-{chance.choice(words)}-{chance.randrange(10**5):x}"
            for _ in range(count * 2)
        }
    )[:count]
    rates = {name: chance.random() ** 6 for name in names}
    contents = dict.fromkeys(names, 0)
    ledger = None
    for number in range(70):
        for name in names:
            contents[name] += chance.random() < rates[name]
        image = [
            component(
                name,
                str(contents[name]),
                f"{len(name) % 7}.{contents[name]}.{len(name)}-{contents[name]}.fc42",
            )
            for name in names
        ]
        bins = [image[at::64] for at in range(64)]
        planned = Plan(tuple(PlannedLayer(tuple(sorted(c.id for c in inside)), rate=0.1) for inside in bins))
        diff_ids = [
            "sha256:" + hashlib.sha256(b"".join(c.fingerprint for c in inside)).hexdigest() for inside in bins
        ]
        ledger = Ledger.advance(ledger, image, planned, diff_ids, date=START + number * 7 * DAY)
    assert ledger is not None
    return ledger


def test_twelve_hundred_components_fit_with_their_versions() -> None:
    ledger = long_series(1200)
    text = encode(ledger)
    back = decode(text)
    assert len(text) <= 34 * 1024
    assert all(entry.version for entry in back.components.values())
    assert len(back.dates) == MAX_RELEASES


def test_versions_go_first_then_the_oldest_releases() -> None:
    ledger = long_series(300)
    full = encode(ledger, 1 << 20)
    assert decode(full) == ledger
    tight = decode(encode(ledger, len(full) - 1))
    assert not any(entry.version for entry in tight.components.values())
    assert tight.dates == ledger.dates
    assert all(len(entry.fingerprint) == FINGERPRINT_BYTES for entry in tight.components.values())
    tighter = encode(ledger, len(full) * 60 // 100)
    assert len(tighter) <= len(full) * 60 // 100
    back = decode(tighter)
    assert back.dates == ledger.dates[-len(back.dates) :]
    assert len(back.dates) < len(ledger.dates)
    for ident, entry in back.components.items():
        assert ledger.components[ident].fingerprint.startswith(entry.fingerprint)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "missing"),
        ("  \n", "missing"),
        ("hello", "nonsense"),
        ("RL1:!!!!", "nonsense"),
        ("RL1:AAAA", "truncated"),
        ("RL3:AAAA", "other format"),
        ("RL٣:AAAA", "nonsense"),
        ("R" * (2 << 20), "nonsense"),
    ],
)
def test_what_is_wrong_is_said(text: str, reason: str) -> None:
    with pytest.raises(LedgerError) as caught:
        decode(text)
    assert caught.value.reason == reason
    assert reason in caught.value.message


def test_every_truncation_and_every_changed_byte_is_noticed() -> None:
    text = encode(record(None, [component(name) for name in "abcdef"], START))
    for length in range(len(text)):
        with pytest.raises(LedgerError):
            decode(text[:length])
    # the last digits of base64 may hold bits that stand for nothing
    for at in range(4, len(text.rstrip("=")) - 1):
        other = "A" if text[at] != "A" else "B"
        changed = text[:at] + other + text[at + 1 :]
        with pytest.raises(LedgerError) as caught:
            decode(changed)
        assert caught.value.reason in ("truncated", "nonsense")


def test_a_bomb_is_not_decompressed() -> None:
    packed = bz2.compress(b"\0" * (64 << 20))
    body = codec.LENGTHS.pack(0, 5) + codec.LENGTHS.pack(len(packed), 1000) * 5 + packed * 5
    header = codec.HEADER.pack(zlib.crc32(body), len(body))
    bomb = "RL1:" + base64.b64encode(header + body).decode()
    with pytest.raises(LedgerError, match="length"):
        decode(bomb)


def test_sealed_nonsense_is_refused() -> None:
    chance = random.Random(7)
    refused = 0
    for _ in range(3000):
        columns = [chance.randbytes(chance.randrange(12)) for _ in range(5)]
        raw = chance.randbytes(chance.choice((0, 8, 16, 24)))
        try:
            decode(codec.seal(1, raw, columns))
        except LedgerError:
            refused += 1
    assert refused > 2900


def test_layers_without_components_and_unordered_names_are_refused() -> None:
    def text(owners: tuple[int, ...], names: tuple[str, ...], layers: int) -> str:
        head, owning, changing, naming = (codec.Writer() for _ in range(4))
        head.numbers((len(names), 6, layers, 1, 0, 0, 1, 2 * START, *[0] * layers))
        owning.numbers((*owners, *[1] * len(names)))
        changing.numbers([127] * len(names))
        for name in names:
            naming.text("rpm")
            naming.text(name)
        raw = b"123456" * len(names) + b"12345678" * layers
        return codec.seal(1, raw, [bytes(out.data) for out in (head, owning, changing, naming)] + [b""])

    assert len(decode(text((0, 1), ("a", "b"), 2)).components) == 2
    with pytest.raises(LedgerError, match="without components"):
        decode(text((0, 0), ("a", "b"), 2))
    with pytest.raises(LedgerError, match="out of order"):
        decode(text((0, 1), ("b", "a"), 2))
    with pytest.raises(LedgerError, match="above"):
        decode(text((0, 2), ("a", "b"), 2))
