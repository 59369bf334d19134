#!/usr/bin/env bash
# Installs a wheel with the newest dependencies and with the oldest that it declares, one environment
# after another, and uses each as tests/installed.py does. Each downloads a CUDA build of torch.
#
#   experiments/install_matrix.sh dist/colmodern-0.1.0-py3-none-any.whl [3.12-newest 3.10-oldest ...]
#
# Needs uv; takes the Pythons that are on the PATH, and lets uv fetch those that are not. Rows are added
# to experiments/results/installs.csv; the exit status is 1 where a run failed.
set -euo pipefail
cd "$(dirname "$0")/.."
WHEEL=$1
shift
RUNS=("$@")
if [ ${#RUNS[@]} -eq 0 ]; then
    RUNS=(3.10-newest 3.11-newest 3.12-newest 3.13-newest 3.10-oldest 3.11-oldest 3.12-oldest 3.13-oldest)
fi
PACKAGES="torch transformers numba numpy scipy faiss-cpu datasets pydantic click rich pyyaml safetensors ir-measures"
RESULTS=experiments/results/installs.csv
[ -f "$RESULTS" ] || echo "date,commit,python,dependencies,result,seconds,versions" > "$RESULTS"
WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT
failed=0
# of the wheel's own requirements uv takes the oldest only where they are asked for by name
unzip -p "$WHEEL" '*/METADATA' | sed -n 's/^Requires-Dist: //p' | grep -v 'extra ==' > "$WORK/requirements.txt"

for run in "${RUNS[@]}"; do
    version=${run%-*} dependencies=${run#*-} resolution=highest
    [ "$dependencies" = oldest ] && resolution=lowest-direct
    folder=$WORK/$run log=$WORK/$run.log
    started=$(date +%s) result="fails to install" versions=
    uv venv --quiet --python "$version" "$folder"
    if uv pip install --quiet --python "$folder/bin/python" --resolution "$resolution" \
        -r "$WORK/requirements.txt" "$WHEEL" &> "$log"; then
        result=fails
        # kernels are compiled anew: by the numba of this environment
        if COLMODERN_CACHE=$WORK/cache-$run python3 tests/installed.py "$folder/bin/python" &>> "$log"; then
            result=works
        fi
        frozen=$(uv pip freeze --quiet --python "$folder/bin/python")
        for package in $PACKAGES; do
            versions+="$(grep -i "^${package/-/[-_]}==" <<< "$frozen" | tr '\n' ' ')"
        done
    fi
    exact=$("$folder/bin/python" -c 'import platform; print(platform.python_version())')
    echo "$(date +%F),$(git rev-parse --short HEAD),$exact,$dependencies,$result,$(($(date +%s) - started)),${versions% }" | tee -a "$RESULTS"
    if [ "$result" != works ]; then
        failed=1
        tail -n 25 "$log"
    fi
    rm -rf "$folder" "$WORK/cache-$run"
done
exit $failed
