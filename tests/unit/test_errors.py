"""The tree of errors."""

import re

from pipeline import errors
from pipeline.errors import Fatal, Invalid, PipelineError, Refused, Retryable, TooSlow


def test_the_docstring_draws_the_tree_of_the_classes() -> None:
    drawn = re.findall(r"^(?:│   )?(?:[├└]── )?([A-Z]\w+)(?: {2,4}|$)", errors.__doc__ or "", re.MULTILINE)
    assert sorted(drawn) == sorted(name for name, value in vars(errors).items() if isinstance(value, type))
    branches = set(re.findall(r"^[├└]── (\w+) ", errors.__doc__ or "", re.MULTILINE))
    assert branches == {error.__name__ for error in PipelineError.__subclasses__()}
    assert set(drawn) == branches | {"PipelineError", "Refused", "TooSlow"}
    assert issubclass(Refused, Retryable)
    assert issubclass(TooSlow, Retryable)


def test_an_invalid_input_names_its_field() -> None:
    error = Invalid("must be a list", field="properties.0.reports")
    assert (str(error), error.field, error.reason) == (
        "properties.0.reports: must be a list",
        "properties.0.reports",
        "must be a list",
    )
    assert str(Invalid("not JSON")) == "not JSON"


def test_the_scope_of_a_fatal_error_is_everything_unless_it_is_given() -> None:
    assert Fatal("x").scope == "all"
    assert Fatal("x", scope="credential:acme").scope == "credential:acme"


def test_a_retryable_error_keeps_the_time_that_the_server_named() -> None:
    assert Retryable("x").retry_after is None
    assert Retryable("x", retry_after=2.5).retry_after == 2.5
