#!/bin/sh
# Runs one of the programs of this folder, or tests/parts.py, with the Python that is there, or says what to install.
# Any Python from 3.9 will do for them; which one LocalStack itself runs on, server.py decides.
set -eu
if ! python3 -c 'import sys; sys.exit(sys.version_info < (3, 9))' 2>/dev/null; then
    echo "localstack: needs Python 3.11, 3.12 or 3.13, and finds no python3 that runs" >&2
    echo "    Debian, Ubuntu: apt-get install python3 python3-venv    macOS: brew install python@3.13" >&2
    exit 69
fi
program=$1
shift
# -B: no __pycache__ beside the sources.
exec python3 -B "$(dirname "$0")/$program" "$@"
