"""The limits of a connection to PostgreSQL, and the DSN's own settings."""

import pytest

from pipeline.errors import Invalid
from pipeline.postgres import Limits, connect


def test_a_statement_may_take_as_long_as_an_answer_unless_said_otherwise() -> None:
    assert Limits(answer_s=3.0).session()["statement_timeout"] == "3000"
    assert Limits(answer_s=3.0, statement_s=60.0).session()["statement_timeout"] == "60000"


def test_a_session_is_closed_for_its_silence_only_where_that_is_asked_for() -> None:
    assert Limits().session()["idle_session_timeout"] == "0"
    assert Limits(idle_s=1.5).session()["idle_session_timeout"] == "1500"


async def test_a_dsn_that_cannot_be_parsed_is_invalid_and_not_printed() -> None:
    with pytest.raises(Invalid) as caught:
        await connect("host=h password='secret", application="test")
    assert caught.value.field == "GSC_POSTGRES_DSN"
    assert "secret" not in str(caught.value)
