"""The search for several texts at once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rechunk_podman.native import holds_any

TEXTS = st.lists(
    st.text("ab\xff\0", min_size=2, max_size=4).map(lambda text: text.encode("latin-1")), max_size=5
)


@given(st.text("ab\xff\0", max_size=20).map(lambda text: text.encode("latin-1")), TEXTS)
def test_as_python_finds_them(data, texts):
    assert holds_any(data, tuple(texts)) is any(text in data for text in texts)


def test_texts_at_the_ends():
    assert holds_any(b"ghp_", (b"ghp_",))
    assert holds_any(bytes(1 << 20) + b"ghp_", (b"AKIA", b"ghp_"))
    assert not holds_any(b"ghp", (b"ghp_",))
    assert not holds_any(b"", (b"ghp_",))
    assert not holds_any(b"ghp_", ())


@pytest.mark.parametrize("texts", [(b"a",), (b"",), (b"ab",) * 65])
def test_wrong_texts(texts):
    with pytest.raises(ValueError, match="text"):
        holds_any(b"", texts)
