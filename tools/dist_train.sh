#!/usr/bin/env bash
# tools/dist_train.sh CONFIG PROCESSES [arguments of tools/train.py]; see tools/torchrun.sh for the environment.
if [ $# -lt 2 ]; then
    echo "usage: $0 CONFIG PROCESSES [arguments of tools/train.py]" >&2
    exit 2
fi
exec bash "$(dirname "$0")/torchrun.sh" train.py "$2" "$1" "${@:3}"
