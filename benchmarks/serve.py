"""Many clients of `pixpnet serve`, some of them hostile: wrong answers, crashes, memory and latency.

Run it as ``python benchmarks/serve.py RUN_DIR PICTURES`` (a minute on two cores). Parallel clients send good
pictures and, as often as ``--fuzzed`` says, what is none: torn, bombs, wrong types, files of two types, huge
headers. Every good picture's answer is held against `pixpnet.predict`'s. Expected: no crash, no wrong answer,
and no more memory at the end than after the first quarter, give or take 50 MB.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import time
import zlib
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import numpy as np
import psutil

from pixpnet import predict
from pixpnet.data import find_pictures

TYPES = {"form": "multipart/form-data; boundary=x", "bytes": "application/octet-stream"}


def fuzzed(good: bytes, chance: random.Random) -> tuple[str, bytes, dict[str, str]]:
    """What is no picture: its kind, the body and headers."""
    kind = chance.choice(("torn", "flipped", "bomb", "bytes", "type", "polyglot", "form", "header", "large"))
    body, headers = good, {"Content-Type": TYPES["bytes"]}
    if kind == "torn":
        body = good[: chance.randrange(1, len(good) // 2)]
    elif kind == "flipped":
        body = bytearray(good)
        for _ in range(20):
            body[chance.randrange(len(body))] ^= 1 << chance.randrange(8)
        body = bytes(body)
    elif kind == "bomb":
        side = chance.choice((7_000, 6_000, 60_000)).to_bytes(4, "big")
        parts = (b"IHDR" + side * 2 + bytes([8, 2, 0, 0, 0]), b"IDAT" + zlib.compress(bytes(10_000_000)))
        chunks = (len(one[4:]).to_bytes(4, "big") + one + zlib.crc32(one).to_bytes(4, "big") for one in parts)
        body = b"\x89PNG\r\n\x1a\n" + b"".join(chunks)
    elif kind == "bytes":
        body = chance.randbytes(chance.randrange(20_000))
    elif kind == "type":
        body = chance.choice(
            (b"<svg/>", b"%PDF-1.7\n", b"PK\3\4", b"GIF89a", b"\xff\xd8\xff", b"II*\0" + bytes(60))
        )
    elif kind == "polyglot":  # the head of one type before the whole of another
        body = chance.choice((b"%PDF-1.7\n", b"PK\3\4", b"GIF89a", b"BM")) + good
    elif kind == "form":
        headers = {"Content-Type": TYPES["form"]}
        body = b"--x\r\nContent-Disposition: form-data; name=" + chance.randbytes(300) + good[:500]
    elif kind == "header":
        headers["X-Long"] = "x" * chance.choice((1_000, 60_000, 1_000_000))
    else:
        body = bytes(25_000_000)
    return kind, body, headers


def asked(port: int, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
    """Status and answer; 0 where the server ended the connection."""
    connection = HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        connection.request("POST", "/v1/predict", body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    except (HTTPException, OSError):
        return 0, b""
    finally:
        connection.close()


def is_same(answer: dict, wanted: dict) -> bool:
    """But for the rounding of other batches."""
    places = [[one["prototype"] for one in value["evidence"]] for value in (answer, wanted)]
    close = np.isclose(answer["probability"], wanted["probability"], atol=1e-3)
    return bool(answer["class_name"] == wanted["class_name"] and close and places[0] == places[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run_dir", type=Path)
    parser.add_argument("pictures", nargs="+")
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--fuzzed", type=float, default=0.25)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    files = find_pictures(options.pictures)[:100]
    wanted = [json.loads(json.dumps(one.to_dict())) for one in predict(options.run_dir, files)]
    good = [path.read_bytes() for path in files]
    command = [sys.executable, "-u", "-m", "pixpnet", "serve", str(options.run_dir), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        port = int(server.stdout.readline().rstrip("/\n").rpartition(":")[2])
        try:
            measure(options, psutil.Process(server.pid), port, good, wanted)
        finally:
            server.terminate()
        print(f"exit code {server.wait(60)}")


def measure(
    options: argparse.Namespace,
    process: psutil.Process,
    port: int,
    good: Sequence[bytes],
    wanted: Sequence[dict],
) -> None:
    """Send all requests, and print what came of them."""
    counts: Counter[str] = Counter()
    statuses: Counter[tuple[str, int]] = Counter()
    seconds: list[float] = []
    memory: list[float] = []

    def one(number: int) -> None:
        chance = random.Random(options.seed * 1_000_003 + number)
        index = chance.randrange(len(good))
        if chance.random() < options.fuzzed:
            kind, body, headers = fuzzed(good[index], chance)
            statuses[kind, asked(port, body, headers)[0]] += 1
        else:
            start = time.perf_counter()
            status, answer = asked(port, good[index], {"Content-Type": TYPES["bytes"]})
            seconds.append(time.perf_counter() - start)
            statuses["good", status] += 1
            counts["right" if status == 200 and is_same(json.loads(answer), wanted[index]) else "wrong"] += 1
        if number % 20 == 0:
            memory.append(process.memory_info().rss / 1e6)

    first = process.memory_info().rss / 1e6
    start = time.perf_counter()
    with ThreadPoolExecutor(options.clients) as pool:
        list(pool.map(one, range(options.requests)))
    took = time.perf_counter() - start
    quarter = memory[len(memory) // 4]
    status, _ = asked(port, good[0], {"Content-Type": TYPES["bytes"]})
    print(
        f"{options.requests} requests of {options.clients} clients in {took:.1f} s, "
        f"{options.requests / took:.0f} a second"
    )
    print(f"good pictures: {counts['right']} answered rightly, {counts['wrong']} wrongly or not at all")
    for (kind, code), count in sorted(statuses.items()):
        print(f"  {kind:<9} {code or 'closed':<6} {count}")
    print(
        "seconds, good pictures:",
        ", ".join(f"{share} % {np.percentile(seconds, share):.3f}" for share in (50, 95, 99, 100)),
    )
    rest = process.memory_info().rss / 1e6
    print(
        f"memory: {first:.0f} MB at first, {quarter:.0f} after a quarter, {max(memory):.0f} at most, "
        f"{rest:.0f} at the end"
    )
    print(f"it still answers: {status == 200}")


if __name__ == "__main__":
    main()
