"""Answers and heartbeats over MQTT 5, by paho-mqtt (``drupe[mqtt]``).

Every connection is a new client: nothing that a dead one left is ever sent later. Answers have
quality of service 1 and expire at the broker; they are taken when the broker has confirmed them and
somebody subscribes to them. ``TOPIC/status`` is kept by the broker, and is its last will.
"""

from __future__ import annotations

import json
import math
from queue import Empty, Queue
from typing import Any

from drupe.line.station.answers import Beat, LineAnswer
from drupe.line.station.configuration import MqttSettings
from drupe.line.station.sinks.sink import SinkError
from drupe.printable import printable_json

KEEPALIVE_S = 5
"""The broker speaks the last will 1.5 times as long after a silent death (no power, no cable)."""

NOBODY_LISTENS = 16
"""The reason code of a message that nobody subscribes to."""


class MqttSink:
    """Publishes to ``TOPIC/answer`` and ``TOPIC/status``."""

    def __init__(self, settings: MqttSettings, expires_s: float) -> None:
        import paho.mqtt.client as library
        from paho.mqtt.packettypes import PacketTypes
        from paho.mqtt.properties import Properties

        self._library: Any = library
        self._settings = settings
        self._client: Any = None
        self._connected: Queue[str] = Queue()
        self._confirmed: Queue[tuple[int, int]] = Queue()
        self._expiry = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        self._expiry.MessageExpiryInterval = max(1, math.ceil(expires_s))
        self.name = f"mqtt {settings.host}:{settings.port} {settings.topic}"
        self.timeout_s = settings.timeout_ms / 1000

    def probe(self) -> str:
        """Connect and disconnect; nothing is published, so no listener is known of."""
        try:
            self._connect(will=False)
        finally:
            self.close(None)
        return "the broker lets us in"

    def open(self, beat: Beat) -> None:
        """Connect and publish the status."""
        self.close(None)
        self._connect(will=True)
        self.beat(beat)

    def take(self, answer: LineAnswer, beat: Beat, seconds: float) -> None:
        """Publish an answer."""
        self._publish("answer", answer.to_json(), seconds, properties=self._expiry)

    def beat(self, beat: Beat) -> None:
        """Publish the status."""
        self._publish("status", _status("running", beat), self.timeout_s, retain=True)

    def close(self, beat: Beat | None) -> None:
        """Publish that the line is stopped, and disconnect; without ``beat`` just let go."""
        if self._client is None:
            return
        try:
            if beat is not None:
                stopped = _status("stopped", beat)
                self._publish("status", stopped, self.timeout_s, retain=True, is_end=True)
        finally:
            self._client.disconnect()
            self._client.loop_stop()
            self._client = None

    def _connect(self, will: bool) -> None:
        library, settings = self._library, self._settings
        client = library.Client(
            library.CallbackAPIVersion.VERSION2, protocol=library.MQTTv5, reconnect_on_failure=False
        )
        connected, confirmed = Queue[str](), Queue[tuple[int, int]]()
        client.on_connect = lambda *given: connected.put(str(given[3]))
        client.on_publish = lambda *given: confirmed.put((given[2], given[3].value))
        client.connect_timeout = self.timeout_s
        if settings.user is not None:
            client.username_pw_set(settings.user, settings.password)
        if settings.tls:
            client.tls_set(ca_certs=None if settings.ca is None else str(settings.ca))
        if will:
            client.will_set(f"{settings.topic}/status", json.dumps(DEAD), qos=1, retain=True)
        self._client, self._connected, self._confirmed = client, connected, confirmed
        client.connect(settings.host, settings.port, keepalive=KEEPALIVE_S)
        client.loop_start()
        try:
            reason = connected.get(timeout=self.timeout_s)
        except Empty:
            raise SinkError("the broker doesn't answer") from None
        if reason != "Success":
            raise SinkError(f"the broker refuses: {reason}")

    def _publish(
        self,
        topic: str,
        document: dict[str, Any],
        seconds: float,
        is_end: bool = False,
        **how: Any,
    ) -> None:
        text = printable_json(json.dumps(document, ensure_ascii=False))
        sent = self._client.publish(f"{self._settings.topic}/{topic}", text.encode(), qos=1, **how)
        if sent.rc != self._library.MQTT_ERR_SUCCESS:
            raise SinkError(f"the connection is gone ({self._library.error_string(sent.rc)})")
        try:
            number, reason = self._confirmed.get(timeout=seconds)
        except Empty:
            raise SinkError(f"the broker didn't confirm within {1000 * seconds:.0f} ms") from None
        if number != sent.mid:
            raise SinkError("the broker confirmed another message")
        unheard = reason == NOBODY_LISTENS
        if (unheard and self._settings.needs_listener and not is_end) or reason >= 128:
            why = "nobody subscribes to it" if unheard else f"refused, code {reason}"
            raise SinkError(f"{self._settings.topic}/{topic}: {why}")


DEAD: dict[str, Any] = {"state": "dead", "valid": False, "reasons": ["the process is gone"]}


def _status(state: str, beat: Beat) -> dict[str, Any]:
    return {
        "state": state,
        "valid": beat.is_valid and state == "running",
        "heartbeat": beat.count,
        "number": beat.number,
        "reasons": list(beat.reasons),
    }
