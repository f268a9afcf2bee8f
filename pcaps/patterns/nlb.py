#!/usr/bin/env python3
"""What a Network Load Balancer with PROXY protocol v2 puts on the wire towards its targets.

`nlb.py LISTEN:PORT SOURCE TARGET:PORT ENDPOINT` takes connections (a consumer's, through
PrivateLink), connects from SOURCE to the target, sends the header with the consumer's VPC endpoint
in front, and then copies bytes both ways. ENDPOINT `none` leaves the endpoint out, as behind no
PrivateLink; `headerless` sends no header at all. `--split N` sends the header N bytes a segment,
`--wrong-sum` with a CRC32C that is not its own, `--udp` prepends it to every datagram.
`nlb.py --check SOURCE TARGET:PORT` is one health check: command LOCAL and nothing behind it.

Header layout: haproxy.org, proxy-protocol.txt 2.2; the AWS type 0xEA and the padding to 84 bytes of
TLVs as an NLB has them."""

import argparse
import select
import socket
import struct
import threading
import time

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
# The consumer's address, as its own VPC has it: partners use the same ones.
CONSUMER = ("192.168.10.5", 51954)


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 & -(crc & 1))
    return crc ^ 0xFFFFFFFF


def header(target, endpoint, wrong_sum=False, datagram=False):
    addresses = socket.inet_aton(CONSUMER[0]) + socket.inet_aton(target[0])
    addresses += struct.pack("!HH", CONSUMER[1], target[1])
    tlvs = b""
    if endpoint != "none":
        value = b"\x01" + endpoint.encode()
        tlvs = struct.pack("!BH", 0xEA, len(value)) + value
    padding = 84 - len(addresses) - 7 - len(tlvs) - 3
    behind = tlvs + struct.pack("!BH", 0x04, padding) + bytes(padding)
    start = SIGNATURE + struct.pack("!BBH", 0x21, 0x12 if datagram else 0x11, 84) + addresses
    start += struct.pack("!BH", 0x03, 4)
    total = crc32c(start + bytes(4) + behind)
    return start + struct.pack("!I", total ^ wrong_sum) + behind


def copy(one, other):
    pair = {one: other, other: one}
    while pair:
        ready, _, _ = select.select(list(pair), [], [], 10)
        if not ready:
            return
        for source in ready:
            data = source.recv(65536)
            if not data:
                pair[source].shutdown(socket.SHUT_WR)
                del pair[source]
            else:
                pair[source].sendall(data)


def carry(client, options, target):
    server = socket.create_connection(target, 5, (options.source, 0))
    server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if options.endpoint != "headerless":
        start = header(target, options.endpoint, options.wrong_sum)
        step = options.split or len(start)
        for at in range(0, len(start), step):
            server.sendall(start[at : at + step])
            if options.split:
                time.sleep(0.01)
    try:
        copy(client, server)
    except OSError:
        pass
    finally:
        client.close()
        server.close()


def datagrams(options, listen, target):
    front = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    front.bind(listen)
    back, clients = {}, {}
    while True:
        ready, _, _ = select.select([front, *clients], [], [])
        for source in ready:
            data, peer = source.recvfrom(65536)
            if source is not front:
                front.sendto(data, clients[source])
                continue
            if peer not in back:
                back[peer] = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                back[peer].bind((options.source, 0))
                clients[back[peer]] = peer
            start = header(target, options.endpoint, options.wrong_sum, datagram=True)
            back[peer].sendto(start + data, target)


def address(text):
    host, port = text.rsplit(":", 1)
    return host, int(port)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--split", type=int)
    parser.add_argument("--wrong-sum", action="store_true")
    parser.add_argument("--udp", action="store_true")
    parser.add_argument("words", nargs="+")
    options = parser.parse_args()
    if options.check:
        source, target = options.words
        check = socket.create_connection(address(target), 5, (source, 0))
        check.sendall(SIGNATURE + struct.pack("!BBH", 0x20, 0x00, 0))
        check.close()
        return
    listen, options.source, target, options.endpoint = options.words
    listen, target = address(listen), address(target)
    if options.udp:
        datagrams(options, listen, target)
    listener = socket.create_server(listen)
    while True:
        client, _ = listener.accept()
        threading.Thread(target=carry, args=(client, options, target), daemon=True).start()


if __name__ == "__main__":
    main()
