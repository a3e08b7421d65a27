"""Sends OpenLineage events to a server during a run: what started, what was made from what, what failed.

Off unless the environment names a server. If the server does not answer, the run warns once and sends nothing more: no
run fails or waits long because of it.
"""

import datetime
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from rlaif_dagster.errors import MissingExtraError
from rlaif_dagster.extras import STANDARDS, using_extra
from rlaif_dagster.lineage.exporting.closure import name_program
from rlaif_dagster.lineage.exporting.openlineage import (
    OPENLINEAGE_NAMESPACE,
    make_complete_event,
    make_open_event,
)
from rlaif_dagster.lineage.record import MaterialisationRecord

if TYPE_CHECKING:
    from openlineage.client.event_v2 import RunEvent
    from openlineage.client.transport.http import HttpTransport

URL: Final = "OPENLINEAGE_URL"
ENDPOINT: Final = "OPENLINEAGE_ENDPOINT"
KEY: Final = "OPENLINEAGE_API_KEY"
NAMESPACE_VARIABLE: Final = "OPENLINEAGE_NAMESPACE"
DISABLED: Final = "OPENLINEAGE_DISABLED"
"""The OpenLineage client's own variables, so that settings made for other tools apply here too."""

_TIMEOUT_SECONDS: Final = 5.0
_RETRIES: Final = {"total": 1, "backoff_factor": 0.2}

Warn = Callable[[str], None]
TellRecord = Callable[[MaterialisationRecord], None]


@dataclass(slots=True, kw_only=True)
class EventSender:
    """Sends the events of one run.

    Attributes:
        environment: Names server and namespace; keys are read from it when an event is sent, and stored nowhere else.
        given_up: Whether the server failed before.
    """

    environment: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False)
    given_up: bool = False

    @property
    def is_on(self) -> bool:
        """Whether a server is named."""
        disabled = self.environment.get(DISABLED, "").strip().lower() == "true"
        return bool(self.environment.get(URL)) and not disabled

    @contextmanager
    def telling(self, asset: str, run_id: str, *, warn: Warn) -> Iterator[TellRecord]:
        """Sends an event when an asset's materialisation begins and when it ends.

        Args:
            asset: The asset.
            run_id: Dagster's run.
            warn: Called once per run with the reason why nothing is sent.

        Yields:
            The function to call with the record of the new version.
        """
        namespace = self.environment.get(NAMESPACE_VARIABLE) or OPENLINEAGE_NAMESPACE

        def tell_state(state: str) -> None:
            self._send(
                lambda: make_open_event(
                    asset, run_id, state=state, when=_now(), namespace=namespace, producer=name_program()
                ),
                warn,
            )

        def tell_record(record: MaterialisationRecord) -> None:
            when = record.ended_at if record.run_id == run_id else _now()
            self._send(
                lambda: make_complete_event(record, run_id=run_id, when=when, namespace=namespace), warn
            )

        tell_state("START")
        try:
            yield tell_record
        except BaseException:
            tell_state("FAIL")
            raise

    def _send(self, make_event: "Callable[[], RunEvent]", warn: Warn) -> None:
        if self.given_up or not self.is_on:
            return
        try:
            self._open_transport().emit(make_event())
        except (MissingExtraError, OSError, ValueError, RuntimeError) as error:
            # requests' errors are OSErrors; their texts may contain an address with a password, so they are not shown.
            self.given_up = True
            status = getattr(getattr(error, "response", None), "status_code", None)
            reason = str(error) if isinstance(error, MissingExtraError) else type(error).__name__
            warn(
                f"OpenLineage events are not sent for the rest of this run: {reason}"
                + (f", HTTP status {status}" if status else "")
                + f". The run continues; the ledger has everything (`rlaif export`). Check {URL} and the server."
            )

    def _open_transport(self) -> "HttpTransport":
        with using_extra(STANDARDS):
            from openlineage.client.transport.http import (
                ApiKeyTokenProvider,
                HttpConfig,
                HttpTransport,
                TokenProvider,
            )

        key = self.environment.get(KEY)
        return HttpTransport(
            HttpConfig(
                url=self.environment[URL],
                endpoint=self.environment.get(ENDPOINT) or "api/v1/lineage",
                timeout=_TIMEOUT_SECONDS,
                auth=ApiKeyTokenProvider({"apiKey": key}) if key else TokenProvider({}),
                retry=dict(_RETRIES),
            )
        )


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
