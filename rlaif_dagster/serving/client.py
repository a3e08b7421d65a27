"""A connection pool to a chat server, through aiohttp. aiohttp's errors are mapped only here."""

import os
import ssl
import urllib.request
from datetime import UTC, datetime
from typing import Final
from urllib.parse import urlsplit

import aiohttp

from rlaif_dagster.serving.calls import ChatOutcome
from rlaif_dagster.serving.exchange import Exchange, Request
from rlaif_dagster.serving.faults import Fault

MOST_REPLY_BYTES: Final = 16 * 2**20
"""The largest reply that is read; a larger one is a fault."""
_THIS_MACHINE: Final = ("127.0.0.1", "::1", "localhost")


class _TooLargeError(Exception):
    """A reply is larger than any completion."""


class Client:
    """Sends requests."""

    def __init__(self, url: str, exchange: Exchange) -> None:
        """Makes a client; opens nothing yet.

        Args:
            url: The address to which requests are sent.
            exchange: Provides the headers, and reads the replies.
        """
        self._url = url
        self._exchange = exchange
        self._proxy = _find_proxy(url)

    async def open(self) -> None:
        """Opens the pool."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ttl_dns_cache=300),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=self._exchange.headers,
            proxy=self._proxy,
            timeout=aiohttp.ClientTimeout(total=None),  # the engine decides how long to wait
        )

    async def close(self) -> None:
        """Closes its connections."""
        await self._session.close()

    async def send(self, request: Request) -> ChatOutcome | Fault:
        """Makes one attempt; waits for the reply as long as it takes."""
        remedy = self._exchange.remedies.connection
        try:
            async with self._session.post(self._url, data=request.body, allow_redirects=False) as reply:
                body = await _read_body(reply)
        except _TooLargeError:
            return Fault(
                kind="passing", reason=f"the reply has more than {MOST_REPLY_BYTES:,} bytes", is_spent=True
            )
        except (aiohttp.ClientSSLError, aiohttp.InvalidURL) as error:
            return Fault(kind="fatal", reason=_describe(error), remedy=remedy)
        except (aiohttp.ClientError, OSError) as error:
            was_sent = not isinstance(error, aiohttp.ClientConnectorError)
            return Fault(
                kind="silent",
                reason=_describe(error),
                remedy=remedy,
                is_spent=was_sent,
            )
        return self._exchange.read(request, reply.status, reply.headers, body, datetime.now(UTC))


async def _read_body(reply: aiohttp.ClientResponse) -> bytes:
    """Reads the whole body, unpacked, unless it is too large."""
    parts, size = [], 0
    async for part in reply.content.iter_any():
        size += len(part)
        if size > MOST_REPLY_BYTES:
            raise _TooLargeError
        parts.append(part)
    return b"".join(parts)


def _describe(error: Exception) -> str:
    """Describes a connection fault, without addresses, so that equal faults have equal texts."""
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    said = type(cause).__name__
    if isinstance(cause, ssl.SSLError):
        said = getattr(cause, "verify_message", None) or cause.reason or said
    elif isinstance(cause, OSError) and cause.errno:
        said = os.strerror(cause.errno)
    return f"the connection failed ({said})"


def _find_proxy(url: str) -> str | None:
    """Finds the proxy that the environment names for an address, once instead of for each request."""
    parts = urlsplit(url)
    if parts.hostname in _THIS_MACHINE or urllib.request.proxy_bypass(parts.netloc):
        return None
    return urllib.request.getproxies().get(parts.scheme)
