#!/bin/sh
# Puts prometheus and promtool into a folder: unpack.sh FOLDER
# They come from Debian's package, which is unpacked and not installed, because installing it would start a daemon.
set -eu

mkdir -p "$1"
to=$(cd "$1" && pwd)
if ! command -v apt-get >/dev/null 2>&1 || ! command -v dpkg-deb >/dev/null 2>&1; then
    echo "error: prometheus or promtool is missing, and only Debian's package can be unpacked: put both into $to" >&2
    exit 1
fi
echo "prometheus or promtool is missing: unpacking Debian's package into $to, without starting its daemon"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
if ! apt-get -qq download prometheus 2>/dev/null; then
    if [ "$(id -u)" -eq 0 ]; then
        apt-get -qq update
    elif command -v sudo >/dev/null 2>&1; then
        sudo apt-get -qq update
    else
        echo "error: the list of packages is out of date: run apt-get update as root, then try again" >&2
        exit 1
    fi
    apt-get -qq download prometheus
fi
dpkg-deb -x prometheus_*.deb root
cp root/usr/bin/prometheus root/usr/bin/promtool "$to/"
