"""Asks whether a file may be installed: verify.py endpoint.trust FILE"""

import sys

import treehead

if len(sys.argv) != 3:
    sys.exit("usage: verify.py TRUST FILE")
verdict = treehead.verify(treehead.Trust.from_file(sys.argv[1]), sys.argv[2])
if not verdict:
    sys.exit(f"{sys.argv[2]}: {verdict.code}: {verdict.message}\n{verdict.advice}")
print(f"{sys.argv[2]}: {verdict.purl} by {verdict.publisher}")
