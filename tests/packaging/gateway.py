#!/usr/bin/env python3
"""A gateway that sends once: the first frames of a wrapped capture (`lockgate wrap`) go out by an
interface; those that come back have to be what was sent, outer addresses turned round, nothing else.
No emulation of a load balancer: tests/netns has one.
  gateway.py INTERFACE CAPTURE HOW-MANY"""
import socket
import struct
import sys

interface, capture, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
with open(capture, "rb") as file:
    data = file.read()
frames, at = [], 24
while at < len(data) and len(frames) < count:
    (length,) = struct.unpack("<I", data[at + 8 : at + 12])
    frames.append(data[at + 16 : at + 16 + length])
    at += 16 + length

with open(f"/sys/class/net/{interface}/address") as file:
    own = bytes.fromhex(file.read().strip().replace(":", ""))
port = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
port.bind((interface, 0))
target = bytes.fromhex(sys.argv[4].replace(":", "")) if len(sys.argv) > 4 else frames[0][:6]
expected = []
for frame in frames:
    frame = target + own + frame[12:]
    expected.append(own + target + frame[12:26] + frame[30:34] + frame[26:30] + frame[34:])
    port.send(frame)

back, other = 0, 0
port.settimeout(10)
try:
    while back < len(expected):
        frame = port.recv(1 << 16)
        if frame[6:12] != target or frame[36:38] != b"\x17\xc1":
            continue
        if frame in expected:
            back += 1
        else:
            other += 1
except TimeoutError:
    pass
print(f"{len(frames)} sent, {back} back with their addresses turned, {other} otherwise")
sys.exit(back == 0 or other > 0)
