"""A tunnel between two hosts, where the kernel has none: GRE (RFC 2784) or ESP in tunnel mode
(RFC 4303 with AES-GCM, RFC 4106) over a raw socket, with a tun device for what is inside. Keys are
made of the two addresses and the direction: no key exchange, no secret.

    tunnel.py gre|esp DEVICE LOCAL REMOTE

Needs the package python3-cryptography. Ends when it is killed."""

import fcntl
import hashlib
import itertools
import os
import select
import socket
import struct
import sys

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
PROTOCOLS = {"gre": 47, "esp": 50}
IPV4_IN_GRE = struct.pack(">HH", 0, 0x0800)
IPV4_IN_ESP = 4


class Gre:
    """No keys, no sequence numbers, no checksum."""

    def seal(self, packet):
        return IPV4_IN_GRE + packet

    def open(self, message):
        return message[4:] if message[:4] == IPV4_IN_GRE else None


class Esp:
    """One security association each way."""

    def __init__(self, local, remote):
        self.out, self.into = self.association(local, remote), self.association(remote, local)
        self.numbers = itertools.count(1)

    @staticmethod
    def association(source, destination):
        made = hashlib.sha256(f"{source} {destination}".encode()).digest()
        spi = struct.unpack(">I", made[:4])[0] | 0x100  # 0 to 255 are reserved
        return spi, made[4:8], AESGCM(made[16:32])

    def seal(self, packet):
        spi, salt, cipher = self.out
        number = next(self.numbers)
        head, iv = struct.pack(">II", spi, number), struct.pack(">Q", number)
        padding = -(len(packet) + 2) % 4
        plain = packet + bytes(range(1, padding + 1)) + bytes([padding, IPV4_IN_ESP])
        return head + iv + cipher.encrypt(salt + iv, plain, head)

    def open(self, message):
        spi, salt, cipher = self.into
        if len(message) < 36 or struct.unpack(">I", message[:4])[0] != spi:
            return None
        plain = cipher.decrypt(salt + message[8:16], message[16:], message[:8])
        return plain[: -2 - plain[-2]]


def main(kind, device, local, remote):
    tun = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH", device.encode(), IFF_TUN | IFF_NO_PI))
    raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, PROTOCOLS[kind])
    raw.bind((local, 0))
    tunnel = Gre() if kind == "gre" else Esp(local, remote)
    while True:
        for ready in select.select([tun, raw], [], [])[0]:
            if ready is raw:
                packet, (peer, _) = raw.recvfrom(65535)
                inner = tunnel.open(packet[4 * (packet[0] & 15) :])
                if peer == remote and inner:
                    os.write(tun, inner)
            else:
                packet = os.read(tun, 65535)
                if packet[0] >> 4 == 4:
                    raw.sendto(tunnel.seal(packet), (remote, 0))


main(*sys.argv[1:])
