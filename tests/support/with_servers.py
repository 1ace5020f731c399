"""Start Kafka and PostgreSQL once, and run a command that uses them: `with_servers.py pytest ...`.

The tests of all workers of pytest-xdist share them: each test has topics and a database of its own.
"""

import os
import subprocess
import sys

from lab.servers import ServerChoice, running_servers


def main(argv: list[str]) -> int:
    """Run the command with the servers' addresses as options; return its exit code."""
    with running_servers(ServerChoice(docker=os.environ.get("GSC_LAB") == "docker")) as servers:
        addresses = ["--kafka", servers.bootstrap_servers, "--postgres", servers.dsn]
        return subprocess.run([*argv, *addresses], check=False).returncode


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
