"""`rlaif` in processes that are forked from one that has made the imports, which take longer than most commands.

The server imports the package and what it uses, and runs nothing. For each request it forks: the child takes the
caller's arguments, folder, environment and standard streams, runs the command, and ends as any interpreter does. So a
command behaves as if it were started afresh, but for its imports; tests whose law is about those start it cold.
"""

import atexit
import functools
import gc
import importlib
import json
import os
import pkgutil
import select
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn

REPOSITORY: Final = Path(__file__).parent.parent
ADDRESS_VARIABLE: Final = "RLAIF_WARM_SERVER"
_LATE: Final = (
    "dagster",
    "dvc.cachemgr",
    "dvc.repo",
    "matplotlib.pyplot",
    "transformers.models.auto.modeling_auto",
    "transformers.models.llama.modeling_llama",
)
"""What the package imports only where it is used."""
_NOT_IMPORTED: Final = ("rlaif_dagster.definitions", "rlaif_dagster.embedded.make_weights")
"""Modules that do something when they are imported, and a script."""
_CLIENT: Final = f"""\
#!{sys.executable} -IS
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as server:
    server.connect(os.environ[{ADDRESS_VARIABLE!r}])
    socket.send_fds(server, [b"\\n"], [0, 1, 2])
    asked = {{"arguments": sys.argv[1:], "folder": os.getcwd(), "environment": dict(os.environ)}}
    server.sendall(json.dumps(asked).encode() + b"\\n")
    code = int(server.makefile().readline())
sys.exit(code if code >= 0 else 128 - code)
"""


def run_warm(
    arguments: Sequence[str], *, folder: Path, environment: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    """Runs `rlaif` with these arguments and waits for it."""
    asked = {"arguments": list(arguments), "folder": str(folder), "environment": dict(environment)}
    with (
        socket.socket(socket.AF_UNIX) as server,
        open(os.devnull, "rb") as nothing,  # noqa: PTH123 - a device
        tempfile.TemporaryFile() as output,
        tempfile.TemporaryFile() as errors,
    ):
        server.connect(str(start_server()))
        socket.send_fds(server, [b"\n"], [stream.fileno() for stream in (nothing, output, errors)])
        server.sendall(json.dumps(asked).encode() + b"\n")
        code = int(server.makefile().readline())
        for stream in (output, errors):
            stream.seek(0)
        return subprocess.CompletedProcess(
            ["rlaif", *arguments], code, output.read().decode(), errors.read().decode()
        )


def write_command(folder: Path) -> dict[str, str]:
    """Writes an `rlaif` command that is run by the server; returns what it needs in the environment, but for PATH."""
    command = folder / "rlaif"
    command.write_text(_CLIENT)
    command.chmod(0o755)
    return {ADDRESS_VARIABLE: str(start_server())}


@functools.cache
def start_server() -> Path:
    """Starts the server of this process, which ends with it; returns its address."""
    folder = tempfile.TemporaryDirectory(prefix="rlaif-warm-")
    address = Path(folder.name) / "socket"
    process = subprocess.Popen(
        # Not `-m`: the help names the program by the module that was started.
        [sys.executable, "-c", "from tests.warm import serve; serve()", str(address)],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    atexit.register(_stop, process, folder)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    return address


def _stop(process: subprocess.Popen[bytes], folder: tempfile.TemporaryDirectory[str]) -> None:
    process.communicate()
    folder.cleanup()


def import_all() -> None:
    """Imports every module of the package, and what it imports late."""
    import rlaif_dagster

    found = pkgutil.walk_packages(rlaif_dagster.__path__, "rlaif_dagster.")
    for name in (*(module.name for module in found), *_LATE):
        if name not in _NOT_IMPORTED:
            importlib.import_module(name)


def accept_commands(address: Path) -> dict[str, Any] | None:
    """Forks a process for each request; returns the request in that process, and None where the caller has ended."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(address))
        listener.listen()
        os.write(1, b"ready\n")
        while True:
            ready, _, _ = select.select([listener.fileno(), 0], [], [])
            if 0 in ready:
                return None
            connection, _ = listener.accept()
            with connection:
                if os.fork() == 0:
                    listener.close()
                    return _fork_command(connection)
            _bury()


def _fork_command(connection: socket.socket) -> dict[str, Any]:
    """Forks the command's process, in which it returns the request; here it waits for its end, and tells the code."""
    _, descriptors, _, _ = socket.recv_fds(connection, 1, 3)
    asked: dict[str, Any] = json.loads(connection.makefile().readline())
    pid = os.fork()
    if pid == 0:
        connection.close()
        for standard, descriptor in enumerate(descriptors):
            os.dup2(descriptor, standard)
            os.close(descriptor)
        return asked
    _, status = os.waitpid(pid, 0)
    connection.sendall(b"%d\n" % os.waitstatus_to_exitcode(status))
    os._exit(0)


def _bury() -> None:
    while True:
        try:
            if os.waitpid(-1, os.WNOHANG) == (0, 0):
                return
        except ChildProcessError:
            return


def serve() -> None:
    """Serves until the caller ends; in a forked process, runs the command."""
    import_all()
    assert threading.active_count() == 1, threading.enumerate()
    gc.collect()
    gc.freeze()
    asked = accept_commands(Path(sys.argv[1]))
    if asked is None:
        return
    from rlaif_dagster.cli.main import main

    os.chdir(asked["folder"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    sys.argv = ["rlaif", *asked["arguments"]]
    code: object = 0
    try:
        main()
    except SystemExit as ending:
        code = ending.code
    except BaseException:  # noqa: BLE001 - the interpreter does the same
        traceback.print_exc()
        code = 1
    _end(code if isinstance(code, int) else int(code is not None))


def _end(code: int) -> NoReturn:
    """Ends as an interpreter does, but does not take apart all that was imported."""
    threading._shutdown()  # type: ignore[attr-defined] # waits for threads
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)
