#!/bin/sh
# Installs a program that the Makefile needs, if it is missing: install.sh PROGRAM PACKAGE
# Uses the system's package manager, and says so. If it knows none, it says which package to install.
set -eu

program=$1
package=$2
command -v "$program" >/dev/null 2>&1 && exit 0

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null 2>&1; then
        sudo "$@"
    else
        echo "error: $program is missing, and only root can install it: install $package, then try again" >&2
        exit 1
    fi
}

say() {
    echo "$program is missing: installing it with $1"
}

if command -v apt-get >/dev/null 2>&1; then
    # Debian names the server's package after the program.
    [ "$package" = redis ] && package=redis-server
    [ "$package" = gcc ] && package=build-essential
    [ "$package" = perf ] && package=linux-perf
    say "apt-get install $package"
    as_root apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$package"
elif command -v dnf >/dev/null 2>&1; then
    [ "$package" = faketime ] && package=libfaketime
    [ "$package" = chromium-driver ] && package=chromedriver
    say "dnf install $package"
    as_root dnf install -y -q "$package"
elif command -v apk >/dev/null 2>&1; then
    [ "$package" = gcc ] && package=build-base
    [ "$package" = python3-pip ] && package=py3-pip
    [ "$package" = faketime ] && package=libfaketime
    [ "$package" = chromium-driver ] && package=chromium-chromedriver
    say "apk add $package"
    as_root apk add --quiet "$package"
elif command -v brew >/dev/null 2>&1; then
    [ "$package" = faketime ] && package=libfaketime
    [ "$package" = chromium-driver ] && package=chromedriver
    say "brew install $package"
    brew install --quiet "$package"
else
    echo "error: $program is missing: install $package (Redis must be 7.0 or newer), then try again" >&2
    exit 1
fi
