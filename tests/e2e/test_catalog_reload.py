"""The catalogs of running services change: a property and its credential are added, a property moves to another."""

from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

from msgspec.structs import replace
from ruamel.yaml import YAML

from lab.scenario import Scenario
from lab.servers import Servers
from support.pipeline import read_log, run_json, running_pipeline, simulator_settings
from support.wait import until

READERS = ("producer", "fetcher")
"""Services that read the catalog."""


def _without_the_second_property(catalog: Path, to: Path) -> None:
    yaml = YAML()
    content = yaml.load(catalog.read_text())
    del content["properties"][1], content["credentials"][1]
    yaml.dump(content, to)


def _replace(path: Path, text: str) -> None:
    new = path.with_name("new")
    new.write_text(text)
    new.replace(path)


async def test_services_take_a_new_catalog_one_after_the_other_without_a_restart(
    servers: Servers, dsn: str, topic_prefix: str, folder: Path
) -> None:
    world = simulator_settings(Scenario(days=2, properties=2, rows=20, full_days=False))
    with running_pipeline(servers, dsn, topic_prefix, folder, world) as running:
        whole = running.setup.catalog.read_text()
        own = {name: folder / f"{name}.yaml" for name in ("producer", "fetcher")}

        async def listening(times: int) -> None:
            await until(
                lambda: all(len(read_log(folder, name, "listening")) == times for name in own), 120, "both listen"
            )

        await listening(1)
        for name, path in own.items():
            _without_the_second_property(running.setup.catalog, path)
            running.services.processes[name].stop()
            running.services.start(name, GSC_CATALOG=str(path))

        def logged(service: str, event: str) -> bool:
            return bool(read_log(folder, service, event))

        await listening(2)
        _replace(own["producer"], whole)
        await until(lambda: logged("producer", "catalog_reloaded"), 60, "the producer has the new catalog")
        run = await running.request_sync(2)
        await running.applied(run, 6)
        await until(lambda: logged("fetcher", "unknown_property"), 60, "the fetcher keeps batches of the new property")

        _replace(own["fetcher"], whole.replace("credential: reader-2", "credential: raeder-2"))
        await until(lambda: logged("fetcher", "catalog_refused"), 60, "the fetcher refuses a catalog with an error")
        [refused] = read_log(folder, "fetcher", "catalog_refused")
        assert "unknown credential 'raeder-2'; did you mean 'reader-2'?" in refused["error"]
        assert (await running.pages(run))["applied"] == 6

        _replace(own["fetcher"], whole)
        assert await running.finished(run) == {"applied": 12}
        assert await running.differences(2) == []


def _change(catalog: Path, change: Callable[[Any], None]) -> None:
    yaml, text = YAML(), StringIO()
    content = yaml.load(catalog.read_text())
    change(content)
    yaml.dump(content, text)
    _replace(catalog, text.getvalue())


def _put_into_a_project(content: Any) -> None:
    content["credentials"][1]["project"] = "agency-b"


def _move_the_second_property(content: Any) -> None:
    content["properties"][1]["credential"] = "reader-1"


async def test_a_project_is_halted_and_its_property_moves_to_a_credential_of_another(
    servers: Servers, dsn: str, topic_prefix: str, folder: Path
) -> None:
    world = simulator_settings(Scenario(days=2, properties=2, rows=20, full_days=False))
    first, second = world.sites
    world = replace(world, sites=(first, replace(second, users=(*second.users, *first.users))))
    with running_pipeline(servers, dsn, topic_prefix, folder, world) as running:

        async def logged(event: str, times: int) -> None:
            await until(lambda: all(len(read_log(folder, name, event)) == times for name in READERS), 60, event)

        async def change(change: Callable[[Any], None], versions: int) -> None:
            _change(running.setup.catalog, change)

            await logged("catalog_reloaded", versions)

        def users() -> list[str]:
            return [call["user"] for call in running.calls() if call["site"] == second.url]

        await logged("listening", 1)
        await change(_put_into_a_project, 1)
        run_json(running, "halt", "project:agency-b", "--reason", "its quota is needed elsewhere")
        run = await running.request_sync(2)
        await running.applied(run, 6)
        assert (await running.pages(run), users()) == ({"applied": 6, "pending": 6}, [])
        run_json(running, "resume", "project:agency-b")
        assert await running.finished(run) == {"applied": 12}
        assert users() == ["reader-2@example.com"] * 6

        run_json(running, "halt", "project:agency-b", "--reason", "again")
        run = await running.request_sync(2)
        await running.applied(run, 6)
        await change(_move_the_second_property, 2)
        assert await running.finished(run) == {"applied": 12}
        assert users()[6:] == ["reader-1@example.com"] * 6
