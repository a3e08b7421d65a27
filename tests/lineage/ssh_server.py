"""A real SSH server with SFTP on 127.0.0.1, for one user with one key; a process of its own.

python -m tests.lineage.ssh_server FOLDER      (FOLDER/host_key, FOLDER/user_key.pub; writes FOLDER/port)
"""

import asyncio
import sys
from pathlib import Path

import asyncssh


async def serve(folder: Path) -> None:
    server = await asyncssh.listen(
        "127.0.0.1",
        0,
        server_host_keys=[str(folder / "host_key")],
        authorized_client_keys=str(folder / "user_key.pub"),
        sftp_factory=True,
        allow_scp=True,
    )
    port = folder / "port"
    port.with_suffix(".new").write_text(str(server.get_port()))
    port.with_suffix(".new").rename(port)
    await server.wait_closed()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
