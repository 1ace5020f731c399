"""Text that UTF-8 and PostgreSQL can store."""

from hypothesis import given
from hypothesis import strategies as st

from pipeline.contracts.text import storable

ANY_TEXT = st.text(st.characters(exclude_categories=()))


def test_nul_and_lone_surrogates_become_escapes() -> None:
    assert storable("a\x00b\ud800c\udfffé") == r"a\x00b\ud800c\udfffé"


@given(text=ANY_TEXT)
def test_text_is_storable_and_otherwise_unchanged(text: str) -> None:
    stored = storable(text)
    assert "\x00" not in stored
    assert stored.encode().decode() == storable(stored) == stored
