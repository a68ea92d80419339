#!/usr/bin/env bash
# What only a GPU can tell, in under eight minutes, from a fresh copy of the tree:
#     bash bench/device.sh                  # DEVICE=cpu: the same steps on tiny sizes, two minutes
# It installs nothing and needs no network: PYTHON (python3) must import a CUDA build of torch and
# the packages of pyproject.toml; what is missing is named in a line. Wheels in .whl (or WHEELS) are
# unpacked for this run. Then, each with a log of its own in OUT (./device-out), a failure of one
# not stopping the others:
#     tests   pytest -m cuda: model, kernels, decoding, resuming, prefetching, nccl with one rank
#     build   BEAUTY_DUMP, else the sample copied to Beauty's size
#     step    a bf16 step of base small, batches of 64: speed, share of the card's peak (PEAK, in
#             Tflop/s, for a card that is not in the table), kernels, answers a second: step.json
#     world   torchrun -m podtrain fit, one process
#     beauty  bench/beauty.toml from scratch for at most TRAIN_SECONDS (200), evaluated: beauty.json
# Exit code 1 if any has failed.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
DEVICE=${DEVICE:-cuda} PYTHON=${PYTHON:-python3} WHEELS=${WHEELS:-.whl}
OUT=${OUT:-device-out}
mkdir -p "$OUT" || exit 1
OUT=$(cd "$OUT" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH} PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
export HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=true
if compgen -G "$WHEELS/*.whl" >/dev/null; then
    "$PYTHON" -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --upgrade \
        --target "$work/site" "$WHEELS"/*.whl || exit 1
    export PYTHONPATH=$PYTHONPATH:$work/site
fi
failed=()

part() { # NAME SECONDS COMMAND...: one step, its log, and whether it went well
    local name=$1 most=$2 start=$SECONDS
    shift 2
    if timeout -k 10 "$most" "$@" >"$OUT/$name.log" 2>&1; then
        echo "ok      $name, $((SECONDS - start)) s"
    else
        echo "FAILED  $name, $((SECONDS - start)) s (status $?): $OUT/$name.log ends"
        tail -n 15 "$OUT/$name.log"
        failed+=("$name")
    fi
}

"$PYTHON" -m bench.needs || exit 1
if [ "$DEVICE" = cuda ]; then
    "$PYTHON" -c 'import torch; print("torch", torch.__version__, torch.cuda.get_device_name())' \
        || { echo "torch sees no GPU: DEVICE=cpu tries the steps without one"; exit 1; }
    marked=cuda
else
    marked="not cuda"
fi
bench=("$PYTHON" -m bench.device --device "$DEVICE" --work "$work")
part tests 150 "$PYTHON" -m pytest tests/test_cuda.py -m "$marked" -p no:cacheprovider -rs --tb=short
part build 90 "${bench[@]}" build
part step 120 "${bench[@]}" step --json "$OUT/step.json" ${PEAK:+--peak "$PEAK"}
part world 60 "$PYTHON" -m torch.distributed.run --standalone --nproc-per-node 1 -m podtrain fit \
    "$work/shards" --out "$work/world" --device "$DEVICE" --base tiny --tasks sequential \
    --epochs 1 --batch-size 256
grep -hE '^(sequential|topn|explanation|card)' "$OUT/step.log"
left=$((460 - SECONDS))
seconds=${TRAIN_SECONDS:-200}
part beauty $((left > 60 ? left : 60)) "${bench[@]}" beauty --json "$OUT/beauty.json" \
    --seconds $((seconds < left - 60 ? seconds : left - 60))
tail -n 5 "$OUT/beauty.log"
echo "$SECONDS s in all; ${#failed[@]} failed${failed[*]:+: ${failed[*]}}; $OUT has logs and JSON"
exit $((${#failed[@]} > 0))
