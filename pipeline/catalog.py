"""The catalog: credentials, the properties that they read, and the reports kept for each property. Pure."""

import re
from collections.abc import Collection, Mapping
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from pipeline.catalog_fields import Identifier, NotEmpty, Strict, Unique
from pipeline.contracts.messages import DEFAULT_PROJECT, YEARS
from pipeline.contracts.text import did_you_mean
from pipeline.report import DEFAULT_REPORTS, Report, ReportName
from pipeline.settings import QueriesPerMinute

_PROPERTY_URL = re.compile(r"sc-domain:[^\s\x00-\x1f\x7f-\x9f/]+|https?://[^\s\x00-\x1f\x7f-\x9f]+/")


def _check_property_url(url: str) -> str:
    if not _PROPERTY_URL.fullmatch(url):
        raise ValueError("must be sc-domain:NAME, or an http(s) URL that ends with a slash, without blanks")
    return url


def _check_year(day: date) -> date:
    if day.year not in YEARS:
        raise ValueError(f"the year must be from {YEARS.start} to {YEARS.stop - 1}")
    return day


CredentialType = Literal["service_account", "authorized_user", "external_account", "application_default"]


class Credential(Strict):
    """A Google account that reads properties.

    `external_account` is workload identity federation: its file holds no secret, but the place of the platform's token.
    `application_default` has no file: Google's library finds the credentials in the environment of each process.
    """

    id: Identifier
    type: CredentialType
    file: Annotated[Path | None, Field(validate_default=True)] = None
    """The key file as Google issues it."""
    subject: Annotated[str, Field(pattern=r"^[^@\s]+@[^@\s]+$", max_length=320)] | None = None
    """The e-mail address of the user for whom a service account with domain-wide delegation acts."""
    project: Identifier = DEFAULT_PROJECT
    """The Google Cloud project whose quota its calls use."""
    user_qpm: QueriesPerMinute | None = None
    """Google's quota of this account in queries a minute, when it differs from GSC_USER_QPM."""

    @field_validator("file")
    @classmethod
    def _check_file(cls, file: Path | None, info: ValidationInfo) -> Path | None:
        kind = info.data.get("type")
        if kind == "application_default" and file is not None:
            raise ValueError("a credential of type application_default has no key file")
        if kind not in (None, "application_default") and file is None:
            raise ValueError(f"missing; a credential of type {kind} has a key file")
        return file

    @field_validator("subject")
    @classmethod
    def _check_subject(cls, subject: str | None, info: ValidationInfo) -> str | None:
        if subject is not None and info.data.get("type") != "service_account":
            raise ValueError("only a credential of type service_account acts for a subject")
        return subject

    @property
    def key_field(self) -> str:
        """The field that says where the key is."""
        return f"credentials.{self.id}.{'type' if self.file is None else 'file'}"

    def is_same_key(self, other: "Credential") -> bool:
        """Return whether another entry means the same account and key file, wherever it stands in the catalog."""
        return (self.type, self.file, self.subject) == (other.type, other.file, other.subject)

    def located_at(self, path: Path, line: int) -> "Credential":
        """Return a copy that is an entry of the catalog at `path`: `file` is resolved against the catalog's folder."""
        file = None if self.file is None else (path.parent / self.file).absolute()
        return CatalogEntry.model_construct(**{**dict(self), "file": file, "place": f"{path}:{line}: "})


class CatalogEntry(Credential):
    """A credential with its place in a catalog file."""

    place: str
    """The path and the line, as they stand before an error."""

    @property
    def key_field(self) -> str:
        """The field that says where the key is, after the catalog's path and line."""
        return f"{self.place}{super().key_field}"


class Project(Strict):
    """A Google Cloud project, with its own quota in queries a minute."""

    qpm: QueriesPerMinute | None = None
    """Google's quota of the project in queries a minute, when it differs from GSC_PROJECT_QPM."""


class Property(Strict):
    """A site in Search Console. `url` is spelled as the API spells it."""

    url: Annotated[str, Field(max_length=2048), AfterValidator(_check_property_url)]
    credential: Identifier
    reports: Annotated[tuple[ReportName, ...], NotEmpty, Unique] | None = None
    """Names of reports. None means all reports of the catalog."""
    start: Annotated[date, AfterValidator(_check_year)] | None = None
    """No day before it is fetched. None: as far back as Google has data."""
    site_qpm: QueriesPerMinute | None = None
    """Google's quota of the property in queries a minute, when it differs from GSC_SITE_QPM."""


class Catalog(Strict):
    """All credentials, properties and reports. `read_catalog` checks that every reference resolves."""

    credentials: Annotated[tuple[Credential, ...], NotEmpty]
    properties: Annotated[tuple[Property, ...], NotEmpty]
    reports: Annotated[tuple[Report, ...], NotEmpty] = DEFAULT_REPORTS
    projects: Mapping[Identifier, Project] = Field(default_factory=dict)
    """Google Cloud projects by id. Only those with a quota of their own need an entry."""

    @cached_property
    def credential_by_id(self) -> Mapping[str, Credential]:
        """Credentials by id."""
        return {credential.id: credential for credential in self.credentials}

    @cached_property
    def project_by_credential(self) -> Mapping[str, str]:
        """The id of each credential's Google Cloud project."""
        return {credential.id: credential.project for credential in self.credentials}

    @cached_property
    def property_by_url(self) -> Mapping[str, Property]:
        """Properties by URL."""
        return {item.url: item for item in self.properties}

    @cached_property
    def report_by_name(self) -> Mapping[str, Report]:
        """Reports by name."""
        return {report.name: report for report in self.reports}

    def unknown_scope(self, scope: str) -> str | None:
        """Return the project, credential or property of a halt scope if the catalog lacks it, else None.

        The text is such as `property 'sc-domain:typo.com'; did you mean 'sc-domain:type.com'?`.
        """
        kind, _, name = scope.partition(":")
        names: Mapping[str, Collection[str]] = {
            "project": set(self.project_by_credential.values()),
            "credential": self.credential_by_id,
            "property": self.property_by_url,
        }
        known = names.get(kind)
        return None if known is None or name in known else f"{kind} {name!r}{did_you_mean(name, known)}"

    def reports_of(self, item: Property) -> tuple[Report, ...]:
        """Return the reports kept for a property, in the catalog's order."""
        if item.reports is None:
            return self.reports
        return tuple(report for report in self.reports if report.name in item.reports)


class CatalogError(Exception):
    """The catalog, or a file that it names, is wrong. `problems` has one line for each problem."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems
