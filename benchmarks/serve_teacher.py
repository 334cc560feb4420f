"""Serve a GGUF file at an OpenAI-compatible address on this machine, as a teacher to measure with.

python benchmarks/serve_teacher.py MODEL.gguf --port 8080 --threads 2 --slots 2
"""

from __future__ import annotations

import argparse
import time

import xllamacpp

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("model")
parser.add_argument("--port", type=int, default=8080)
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--slots", type=int, default=2)
arguments = parser.parse_args()
params = xllamacpp.CommonParams()
params.model.path = arguments.model
params.hostnames, params.port = ["127.0.0.1"], arguments.port
params.n_parallel, params.n_ctx = arguments.slots, 3072 * arguments.slots
params.cpuparams.n_threads = arguments.threads
server = xllamacpp.Server(params)
print(server.listening_address, flush=True)
while True:
    time.sleep(60)
