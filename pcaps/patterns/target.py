#!/usr/bin/env python3
"""A TLS server behind a PROXY protocol v2 sender that takes the header in any pieces:
`target.py ADDRESS:PORT CERTIFICATE KEY` reads it byte by byte, then answers one HTTP request."""

import socket
import ssl
import struct
import sys
import threading


def exactly(connection, count):
    data = b""
    while len(data) < count:
        part = connection.recv(count - len(data))
        if not part:
            raise ConnectionError("closed within the header")
        data += part
    return data


def serve(connection, context):
    try:
        fixed = exactly(connection, 16)
        exactly(connection, struct.unpack("!H", fixed[14:])[0])
        with context.wrap_socket(connection, server_side=True) as session:
            session.recv(4096)
            session.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
    except OSError:
        connection.close()


def main():
    host, port = sys.argv[1].rsplit(":", 1)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[2], sys.argv[3])
    listener = socket.create_server((host, int(port)))
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=serve, args=(connection, context), daemon=True).start()


if __name__ == "__main__":
    main()
