"""A chat completions server that criticises and revises by rule: `python -m tests.revising.writer_server LOG`.

A revision is the answer's first words. Every request's body is a line in the log. The first line printed is the port.
"""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import IO

from aiohttp import web


def find_part(message: str, name: str) -> str:
    """What stands between two marks of a packaged prompt."""
    return message.split(f"⟦{name}⟧\n", 1)[1].split(f"\n⟦END OF {name}⟧", 1)[0]


async def serve(log: IO[str]) -> None:
    """Serves until whoever started it is gone."""

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        body = await request.text()
        log.write(body + "\n")
        message = json.loads(body)["messages"][-1]["content"]
        answer = find_part(message, "ANSWER")
        is_revision = "⟦CRITIQUE⟧" in message
        text = (
            " ".join(answer.split()[:6]) if is_revision else f"Too long under: {find_part(message, 'RULE')}"
        )
        return web.json_response(
            {
                "choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": 90, "completion_tokens": 10},
            }
        )

    runner = web.ServerRunner(web.Server(handle, access_log=None))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)  # noqa: T201 - how the port is told
    parent = os.getppid()
    while os.getppid() == parent:
        await asyncio.sleep(0.5)


if __name__ == "__main__":
    with Path(sys.argv[1]).open("a", buffering=1) as stream:
        asyncio.run(serve(stream))
