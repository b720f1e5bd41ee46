#!/usr/bin/env bash
# Measure a CUDA device in at most eight minutes: benchmarks/gpu.sh
# Writes benchmarks/results/DEVICE.json and docs/project/benchmarks.md, after each case of each part.
# benchmarks/gpu.sh --quick [FOLDER] tries every part in tiny sizes, on the CPU as well, and prints
# the page; what it writes is kept in FOLDER, where one is given.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python}
# the seconds that each part may take: 470 in all. What a part that is stopped, fails or crashes has
# measured stays, and the others go on.
parts=(inference:120 compiling:130 training:60 adapting:70 tensorrt:90)

device=$("$python" -c "
import sys; sys.path.insert(0, 'benchmarks')
import machine, re
print(re.sub(r'[^a-z0-9]+', '-', machine.gpu().lower()).strip('-'))")
options=(--label "${device:-cpu}")
if [ "${1:-}" = --quick ]; then
    folder=${2:-$(mktemp -d)}
    [ -n "${2:-}" ] || trap 'rm -rf "$folder"' EXIT
    parts=("${parts[@]/%:*/:300}") # a busy CPU may need longer
    options+=(--quick --results "$folder" --page "$folder/page.md")
elif [ -z "$device" ]; then
    echo "torch sees no CUDA device here; benchmarks/gpu.sh --quick tries the parts on the CPU." >&2
    exit 1
fi
failed=
for part in "${parts[@]}"; do
    name=${part%:*}
    # a call into a driver or a compiler may leave no time for a gentle end
    timeout --kill-after=2 "${part#*:}" "$python" benchmarks/run.py "${options[@]}" --only "$name" ||
        failed="$failed $name"
done
[ -z "${folder:-}" ] || cat "$folder/page.md"
if [ -n "$failed" ]; then
    echo "Not measured to the end:$failed; the page says why." >&2
    exit 1
fi
