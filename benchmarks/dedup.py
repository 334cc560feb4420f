"""A million short rows through the sieve's duplicate search, beside text-dedup's MinHash on the same rows.

    python benchmarks/dedup.py [--rows 1000000] [--theirs PYTHON]

The rows are questions made from sentences of the shipped domains' data, a fifth of them repeats of earlier ones (exact, other punctuation, or
one word changed). `--theirs` is the Python of an environment in which `pip install text-dedup` was done; without it only our side runs.
Writes benchmarks/results/dedup.json and .md.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from quality import RESULTS, processor

ROOT = Path(__file__).parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--theirs", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "rows.jsonl"
        planted = write_rows(path, arguments.rows)
        result = {"rows": arguments.rows, "planted": planted, "machine": processor(), "ours": ours(path)}
        if arguments.theirs:
            result["theirs"] = theirs(path, arguments.theirs, Path(scratch))
    (RESULTS / "dedup.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    (RESULTS / "dedup.md").write_text(table(result), encoding="utf-8")
    sys.stdout.write(table(result))


def write_rows(path: Path, count: int) -> dict[str, int]:
    """Rows {id, prompt, completion, planted}; how many repeats of which form there are."""
    words = sorted({word for file in (ROOT / "domains").rglob("data/**/*") if file.is_file()
                    for word in re.findall(r"[A-Za-z]{3,}|[\u4e00-\u9fff]{2,4}", file.read_text(encoding="utf-8"))})  # fmt: skip
    english = [word for word in words if word.isascii()]
    chinese = [word for word in words if not word.isascii()]
    chance = random.Random(0)
    planted: Counter[str] = Counter()
    recent: list[tuple[str, str]] = []
    with open(path, "w", encoding="utf-8") as file:
        for number in range(count):
            how = ""
            if recent and chance.random() < 0.2:
                prompt, answer = chance.choice(recent)
                how = chance.choice(("exact", "form", "near"))
                if how == "form":
                    prompt = prompt.rstrip("?？") + " ?!"
                if how == "near":
                    prompt = ("请问" if prompt[0] > "\u4e00" else "Please, ") + prompt
                planted[how] += 1
            elif chance.random() < 0.5:
                prompt = "How " + " ".join(chance.choices(english, k=chance.randint(7, 14))) + "?"
                answer = " ".join(chance.choices(english, k=8)) + "."
            else:
                prompt = "".join(chance.choices(chinese, k=chance.randint(6, 11))) + "？"
                answer = "".join(chance.choices(chinese, k=7)) + "。"
            recent.append((prompt, answer))
            if len(recent) > 50_000:
                del recent[:25_000]
            file.write(
                json.dumps(
                    {"id": str(number), "prompt": prompt, "completion": answer, "planted": how}, ensure_ascii=False
                )
                + "\n"
            )
    return dict(planted)


def ours(path: Path) -> dict[str, object]:
    """Seconds, peak memory and recall per form, in a process of its own."""
    code = (
        "import json,sys,time,resource\nfrom collections import Counter\nfrom factory.duplicates import Duplicates\n"
        "seen=Duplicates(0.8);found=Counter();planted=Counter();false=0;start=time.monotonic()\n"
        f"for line in open({str(path)!r},encoding='utf-8'):\n"
        "    row=json.loads(line);reason,_=seen.find(row['id'],row['prompt'],row['completion'])\n"
        "    planted[row['planted']]+=1\n"
        "    if reason: found[row['planted']]+=1\n"
        "print(json.dumps({'seconds':round(time.monotonic()-start,1),'peak_mb':resource.getrusage(resource.RUSAGE_SELF).ru_maxrss//1024,"
        "'found':{k:round(found[k]/planted[k],4) for k in planted}}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def theirs(path: Path, python: Path, scratch: Path) -> dict[str, object]:
    """text-dedup's MinHash over the prompts, in two processes, with 64 permutations and its faster hash."""
    out = scratch / "theirs"
    start = time.monotonic()
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    subprocess.run(
        [python, "-m", "text_dedup.minhash", "--path", "json", "--data_files", str(path), "--split", "train", "--column", "prompt",
         "--output", str(out), "--num_proc", "2", "--num_perm", "64", "--threshold", "0.7", "--ngram", "3", "--min_length", "1", "--hash_func", "xxh3"],
        check=True, cwd=scratch, capture_output=True,
    )  # fmt: skip
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return {"seconds": round(time.monotonic() - start, 1), "peak_mb": max(peak, before) // 1024}


def table(result: dict) -> str:
    lines = [
        "| | seconds | peak memory | found: exact, form, near | falsely found |",
        "| --- | --- | --- | --- | --- |",
    ]
    mine = result["ours"]
    found = ", ".join(f"{mine['found'][how]:.1%}" for how in ("exact", "form", "near"))
    lines.append(f"| factory | {mine['seconds']} | {mine['peak_mb']} MB | {found} | {mine['found'].get('', 0):.2%} |")
    if "theirs" in result:
        lines.append(
            f"| text-dedup (MinHash, 2 processes) | {result['theirs']['seconds']} | {result['theirs']['peak_mb']} MB | | |"
        )
        lines += ["", f"text-dedup takes {result['theirs']['seconds'] / mine['seconds']:.1f} times as long."]
    return "\n".join([*lines, "", f"{result['rows']:,} rows on {result['machine']}, 2 cores; ours is one process.", ""])


if __name__ == "__main__":
    main()
