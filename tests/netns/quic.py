"""A QUIC server and client (aioquic) for tests/netns/quic.rs. The server tells every datagram that
reaches it on a line of its own; the client sends a name and a question and wants its echo."""

import argparse
import asyncio
import os
import ssl
import sys

from aioquic.asyncio import QuicConnectionProtocol, connect, serve
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import StreamDataReceived
from aioquic.quic.packet import QuicProtocolVersion

VERSIONS = {"1": QuicProtocolVersion.VERSION_1, "2": QuicProtocolVersion.VERSION_2}


class Echo(QuicConnectionProtocol):
    def datagram_received(self, data, addr):
        print(f"{len(data)} {addr[1]}", flush=True)
        super().datagram_received(data, addr)

    def quic_event_received(self, event):
        if isinstance(event, StreamDataReceived):
            self._quic.send_stream_data(event.stream_id, event.data, end_stream=event.end_stream)
            self.transmit()


async def run_server(asked):
    settings = QuicConfiguration(is_client=False, alpn_protocols=["echo"])
    settings.load_cert_chain(asked.certificate, asked.key)
    settings.supported_versions = list(VERSIONS.values())
    await serve("0.0.0.0", asked.port, configuration=settings, create_protocol=Echo)
    print("ready", flush=True)
    await asyncio.Event().wait()


async def run_client(asked):
    # What else is offered only makes the hello longer than one packet.
    more = [f"protocol-{number:04}" for number in range(asked.protocols)]
    settings = QuicConfiguration(is_client=True, alpn_protocols=["echo"] + more)
    settings.server_name = asked.name
    settings.verify_mode = ssl.CERT_NONE
    settings.original_version = VERSIONS[asked.version]
    settings.supported_versions = [VERSIONS[asked.version]]
    question = os.urandom(100_000)
    async with connect(asked.host, asked.port, configuration=settings) as client:
        reader, writer = await client.create_stream()
        writer.write(question)
        writer.write_eof()
        answer = await reader.read()
    return 0 if answer == question else 3


async def bounded(asked):
    try:
        return await asyncio.wait_for(run_client(asked), asked.seconds)
    except (asyncio.TimeoutError, ConnectionError) as error:
        print(f"no answer: {error!r}", file=sys.stderr)
        return 2


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("role", choices=["server", "client"])
    parser.add_argument("--host")
    parser.add_argument("--port", type=int, default=443)
    parser.add_argument("--name")
    parser.add_argument("--version", choices=VERSIONS, default="1")
    parser.add_argument("--protocols", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--certificate")
    parser.add_argument("--key")
    asked = parser.parse_args()
    if asked.role == "server":
        asyncio.run(run_server(asked))
    else:
        sys.exit(asyncio.run(bounded(asked)))


main()
