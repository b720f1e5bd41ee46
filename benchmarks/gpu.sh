#!/usr/bin/env bash
# Measure a CUDA device in at most eight minutes: benchmarks/gpu.sh
# Writes benchmarks/results/DEVICE.json and docs/project/benchmarks.md.
# benchmarks/gpu.sh --quick tries every part in tiny sizes, on the CPU as well, and keeps nothing.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python}
device=$("$python" -c "
import sys; sys.path.insert(0, 'benchmarks')
import machine, re
print(re.sub(r'[^a-z0-9]+', '-', machine.gpu().lower()).strip('-'))")
options=(--only adapting --only inference)
if [ "${1:-}" = --quick ]; then
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
    options+=(--quick --results "$folder" --page "$folder/page.md")
elif [ -z "$device" ]; then
    echo "torch sees no CUDA device here; benchmarks/gpu.sh --quick tries the parts on the CPU." >&2
    exit 1
fi
timeout 480 "$python" benchmarks/run.py --label "${device:-cpu}" "${options[@]}"
