"""kill -9 at random moments of SFT and of DPO on the embedded base: it goes on, and ends with the unbroken run's weights.

    python benchmarks/kills.py                 # ten kills, about 15 minutes on 2 cores
    python benchmarks/kills.py --kills 4

The cooking sample, SmolLM2-135M-Instruct; SFT is cut to 40 steps with a checkpoint every 5, DPO to 24 with one every 4. Half of the
kills fall into SFT, half into DPO, each at a moment drawn evenly from the time that its stage took unbroken (from the stage's
start: also while it loads, tries or proves). A stage that ends before its kill is begun anew. Writes results/kills.json and .md.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from quality import FACTORY, RESULTS, processor

from factory.files import sha256

SETTINGS = (
    "sft.trainer.max_steps=40", "sft.save_steps=5", "dpo.trainer.max_steps=24", "dpo.save_steps=4", "prefer.max_prompts=96",
    "prefer.min_pairs=8",
)  # fmt: skip
WEIGHTS = "adapter/adapter_model.safetensors"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as place:
        cwd = Path(place)
        whole, broken = (cwd / "runs" / "cooking" / name for name in ("whole", "broken"))
        assert build(cwd, "whole", "dpo").wait() == 0
        found: dict[str, Any] = {}
        for stage, kills in (("sft", arguments.kills // 2), ("dpo", arguments.kills - arguments.kills // 2)):
            seconds = json.loads((whole / stage / "manifest.json").read_text(encoding="utf-8"))["seconds"]
            assert build(cwd, "broken", "curate" if stage == "sft" else "prefer").wait() == 0
            steps = [killed(cwd, broken, stage, rng.uniform(0, seconds)) for _ in range(kills)]
            assert build(cwd, "broken", stage).wait() == 0
            same = sha256(whole / stage / WEIGHTS) == sha256(broken / stage / WEIGHTS)
            found[stage] = {"seconds": seconds, "killed_at_step": steps, "same_weights": same}
            print(stage, found[stage], flush=True)
    result = {"stages": found, "processor": processor(), "settings": list(SETTINGS)}
    (RESULTS / "kills.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    (RESULTS / "kills.md").write_text(table(result), encoding="utf-8")
    print(table(result))
    if not all(row["same_weights"] for row in found.values()):
        sys.exit("other weights than the unbroken run's")


def build(cwd: Path, run: str, until: str) -> subprocess.Popen[bytes]:
    words = [word for one in SETTINGS for word in ("--set", one)]
    command = [
        FACTORY,
        "build",
        "cooking",
        "--run",
        run,
        "--until",
        until,
        *words,
    ]
    return subprocess.Popen(command, cwd=cwd, stdout=subprocess.DEVNULL)


def killed(cwd: Path, run: Path, stage: str, after: float) -> int:
    """Kill the stage so many seconds after it began; the last step that it had logged, 0: none yet."""
    while True:
        process = build(cwd, run.name, stage)
        while not (run / stage / "started.json").exists() and process.poll() is None:
            time.sleep(0.05)
        try:
            process.wait(timeout=after)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            log = run / stage / "log.jsonl"
            rows = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
            return int(json.loads(rows[-1])["step"]) if rows else 0
        assert process.returncode == 0, "the build failed before it was killed"
        shutil.rmtree(run / stage)  # it was quicker: begin the stage anew


def table(result: dict[str, Any]) -> str:
    lines = ["| stage | killed | at step (0: before the first) | weights as unbroken |", "| --- " * 4 + "|"]
    for stage, row in result["stages"].items():
        steps = ", ".join(map(str, row["killed_at_step"]))
        lines.append(
            f"| {stage} | {len(row['killed_at_step'])} times | {steps} | {'the same, byte by byte' if row['same_weights'] else 'OTHERS'} |"
        )
    return "\n".join([*lines, "", f"Cooking sample, smollm2-135m-instruct; {result['processor']}.", ""])


if __name__ == "__main__":
    main()
