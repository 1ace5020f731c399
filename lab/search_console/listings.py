"""The lists of properties and of sitemaps, in Google's format. Pure.

Source: the discovery document of the API, schemas WmxSite and WmxSitemap.
"""

from collections.abc import Iterable
from typing import Any

from lab.search_console.refusals import Refused
from lab.search_console.settings import PermissionLevel, Site, Sitemap


def may_query(site: Site, user: str) -> bool:
    """Return whether a user may read the data of a property: an unverified one only sees it in the list."""
    return user in site.users and _permission(site, user) != "siteUnverifiedUser"


def _permission(site: Site, user: str) -> PermissionLevel:
    return dict(site.permissions).get(user, "siteFullUser")


def list_sites(sites: Iterable[Site], user: str) -> dict[str, Any]:
    """Return the properties of a user with permission levels. Google leaves out the list when it is empty."""
    entries = [
        {"siteUrl": site.url, "permissionLevel": _permission(site, user)} for site in sites if user in site.users
    ]
    return {"siteEntry": entries} if entries else {}


def list_sitemaps(site: Site) -> dict[str, Any]:
    """Return the sitemaps of a property. Google leaves out the list when it is empty."""
    entries = [_entry(sitemap) for sitemap in site.sitemaps]
    return {"sitemap": entries} if entries else {}


def get_sitemap(site: Site, path: str) -> dict[str, Any]:
    """Return one sitemap of a property. Raises Refused."""
    for sitemap in site.sitemaps:
        if sitemap.path == path:
            return _entry(sitemap)
    raise Refused(404, f"'{path}' is not a sitemap of '{site.url}'.", reason="notFound")


def _entry(sitemap: Sitemap) -> dict[str, Any]:
    """Return Google's form, in which 64-bit numbers are text."""
    entry: dict[str, Any] = {
        "path": sitemap.path,
        "lastSubmitted": sitemap.last_submitted,
        "isPending": sitemap.is_pending,
        "isSitemapsIndex": sitemap.is_sitemaps_index,
        "type": "sitemap",
        "warnings": str(sitemap.warnings),
        "errors": str(sitemap.errors),
        "contents": [{"type": "web", "submitted": str(sitemap.submitted), "indexed": "0"}],
    }
    return entry if sitemap.is_pending else entry | {"lastDownloaded": sitemap.last_downloaded}
