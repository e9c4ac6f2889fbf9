#!/usr/bin/env python3
"""Turns a Debian package list into releases for `treehead publish --from`.

    apt-cache dumpavail | python3 docs/debian-releases.py > releases.jsonl
    treehead publish --from releases.jsonl --log http://127.0.0.1:8080 --key publisher.pem

One line per package stanza. The packages keep the order of the list. The lines
of one package (name and architecture) stand together, oldest version first,
because a sequence only grows. The same input gives the same output.
"""

import argparse
import json
import re
import sys
from functools import partial
from urllib.parse import quote


def stanzas(lines):
    """Yields each stanza as a dict. Continuation lines hold nothing we need."""
    fields = {}
    for line in lines:
        if line == "\n":
            if fields:
                yield fields
            fields = {}
        elif not line[0].isspace():
            name, _, value = line.partition(":")
            fields[name] = value.strip()
    if fields:
        yield fields


def order(char):
    """Debian's order: ~, then the end of the string (0), letters, the rest."""
    return -1 if char == "~" else ord(char) if char.isalpha() else ord(char) + 256


def part_key(text):
    """Text and numbers in turn. The 0 after each text stands for its end."""
    pairs = re.findall(r"([^0-9]*)([0-9]*)", text)
    return [([*map(order, text), 0], int(number or 0)) for text, number in pairs]


def version_key(version):
    # The epoch ends at the first colon, the revision starts at the last hyphen.
    # A missing one is the same as 0.
    epoch, upstream, revision = re.fullmatch(r"(?:(\d+):)?(.*?)(?:-([^-]*))?", version).groups("0")
    return int(epoch), part_key(upstream), part_key(revision)


def main():
    encode = partial(quote, safe=".-_~:")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--channel", default="stable")
    channel = parser.parse_args().channel
    # Descriptions are UTF-8 whatever the locale; a bad byte there is no reason to stop.
    sys.stdin.reconfigure(encoding="utf-8", errors="replace", newline="\n")
    packages, skipped, repeated = {}, 0, 0
    for s in stanzas(sys.stdin):
        if not s.get("SHA256") or not s.get("Filename"):
            skipped += 1
            continue
        versions = packages.setdefault((s["Package"], s["Architecture"]), {})
        repeated += (s["Version"], s["SHA256"]) in versions
        versions.setdefault((s["Version"], s["SHA256"]), s["Filename"].rpartition("/")[2])
    for (name, arch), versions in packages.items():
        # The sort is stable: equal versions keep the order of their stanzas.
        releases = sorted(versions.items(), key=lambda item: version_key(item[0][0]))
        for sequence, ((version, sha256), file) in enumerate(releases, 1):
            purl = f"pkg:deb/debian/{encode(name)}@{encode(version)}?arch={encode(arch)}"
            release = {"purl": purl, "kind": "build", "channel": channel, "sequence": sequence}
            release["artifacts"] = [{"name": file, "sha256": sha256}]
            print(json.dumps(release, separators=(",", ":")))
    print(f"skipped {skipped} without SHA256 or Filename, {repeated} repeated", file=sys.stderr)


if __name__ == "__main__":
    main()
