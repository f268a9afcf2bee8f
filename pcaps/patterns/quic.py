#!/usr/bin/env python3
"""An HTTP/3 server and client (aioquic) for captures: `serve ADDRESS PORT CERT KEY` answers every
request; `get ADDRESS PORT NAME` asks once for / under the name."""

import asyncio
import ssl
import sys

from aioquic.asyncio import QuicConnectionProtocol, connect, serve
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import HeadersReceived
from aioquic.quic.configuration import QuicConfiguration


class Http(QuicConnectionProtocol):
    """Answers requests; waits for one answer."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.http = H3Connection(self._quic)
        self.answered = asyncio.Event()

    def quic_event_received(self, event):
        for found in self.http.handle_event(event):
            if isinstance(found, HeadersReceived):
                if not self._quic.configuration.is_client:
                    self.http.send_headers(found.stream_id, [(b":status", b"200")], end_stream=True)
                    self.transmit()
                self.answered.set()


async def server(address, port, certificate, key):
    configuration = QuicConfiguration(is_client=False, alpn_protocols=H3_ALPN)
    configuration.load_cert_chain(certificate, key)
    await serve(address, int(port), configuration=configuration, create_protocol=Http)
    await asyncio.Event().wait()


async def client(address, port, name):
    configuration = QuicConfiguration(
        is_client=True, alpn_protocols=H3_ALPN, server_name=name, verify_mode=ssl.CERT_NONE
    )
    options = {"configuration": configuration, "create_protocol": Http}
    async with connect(address, int(port), **options) as session:
        stream = session._quic.get_next_available_stream_id()
        headers = [(b":method", b"GET"), (b":scheme", b"https"), (b":authority", name.encode()), (b":path", b"/")]
        session.http.send_headers(stream, headers, end_stream=True)
        session.transmit()
        await asyncio.wait_for(session.answered.wait(), 3)


if __name__ == "__main__":
    task = {"serve": server, "get": client}[sys.argv[1]]
    asyncio.run(task(*sys.argv[2:]))
