#!/bin/sh
# Checks a folder's files with tools that know their formats: check.sh [FOLDER]. The default is the folder of this script.
# Exit codes: 0 all good; 1 a file has a fault; 2 a tool is missing, or the command line is wrong.
# `make check-deploy` installs the tools. Only kubectl may be absent.
set -u

here=$(cd "$(dirname "$0")" && pwd) || exit 2
folder=${1:-$here}
if [ $# -gt 1 ] || ! [ -d "$folder" ]; then
    echo "usage: check.sh [FOLDER]" >&2
    exit 2
fi

# Check a copy: the checks need other files beside these, and the real secrets are none of their business.
copy=$(mktemp -d) || exit 2
trap 'rm -rf "$copy"' EXIT
trap 'exit 2' HUP INT TERM
for entry in "$folder"/*; do
    [ "$(basename "$entry")" = secrets ] || cp -R "$entry" "$copy/" || exit 2
done
cd "$copy" || exit 2
find . -type f ! -path ./.all | sed 's|^\./||' | sort >"$copy/.all"
: >"$copy/.checked"

faults=0
missing=0
skipped=""

# judge FILE STATUS OUTPUT: a check's result. Some tools report a fault and exit with 0, so any output is a fault.
judge() {
    echo "$1" >>"$copy/.checked"
    if [ "$2" -ne 0 ] || [ -n "$3" ]; then
        echo "$1: ${3:-refused without a reason}" >&2
        faults=$((faults + 1))
    fi
}

# has TOOL FILES: whether the tool is there
has() {
    command -v "$1" >/dev/null 2>&1 && return 0
    echo "error: $1 is missing, so $2 cannot be checked: make check-deploy installs it" >&2
    missing=$((missing + 1))
    return 1
}

skip() {
    skipped="$skipped
  $1: $2"
}

# validate NAME FILE. The validator only warns of a kind that it does not know. Known ones without a schema are KEDA's,
# which `make test` checks, and kustomize's, which kubectl checks.
validate() {
    output=$(kubernetes-validate --strict --quiet "$2" 2>&1)
    judge "$1" $? "$(printf '%s' "$output" | grep -Ev 'for kind (Kustomization|ScaledObject|TriggerAuthentication) ')"
    case $output in *"for kind ScaledObject "*) skip "$1" "the names within a ScaledObject, which make test checks" ;; esac
}

check_kubernetes() {
    has kubernetes-validate kubernetes/ || return
    for file in kubernetes/*.yaml; do
        validate "$file" "$file"
    done
    if ! command -v kubectl >/dev/null 2>&1; then
        skip kubernetes/kustomization.yaml "kubectl is missing, so nothing was rendered"
        return
    fi
    output=$(kubectl kustomize kubernetes 2>&1 >"$copy/.rendered")
    judge kubernetes/kustomization.yaml $? "$output"
    [ -n "$output" ] || validate "kubernetes, rendered" "$copy/.rendered"
    # A comment has the lines for Redis Cluster.
    mkdir .cluster && cp kubernetes/* .cluster/ && sed -i '/^# patches:/,/^$/s/^# //' .cluster/kustomization.yaml
    output=$(kubectl kustomize .cluster 2>&1 >"$copy/.rendered")
    judge kubernetes/scaledobject-cluster.yaml $? "$output"
    grep -q redis-cluster-streams "$copy/.rendered" || judge kubernetes/scaledobject-cluster.yaml 1 "it is not put in force"
}

check_image() {
    has hadolint Dockerfile || return
    output=$(hadolint Dockerfile 2>&1)
    judge Dockerfile $? "$output"
}

check_compose() {
    has docker-compose compose.yaml || return
    output=$(sh secrets.sh 2>&1) || { judge secrets.sh 1 "$output"; return; }
    output=$(docker-compose -f compose.yaml config -q 2>&1)
    judge compose.yaml $? "$output"
}

# The program need not be installed: another one stands for it. A template is checked as one of its instances.
check_systemd() {
    has systemd-analyze systemd/ || return
    mkdir .units
    for file in systemd/*.service; do
        unit=.units/$(basename "$file" | sed 's/@\.service$/@1.service/')
        sed -E 's|^(Exec[A-Za-z]*=[-@:+!]*)[^ ]+|\1/bin/true|' "$file" >"$unit"
        output=$(systemd-analyze verify --man=no "./$unit" 2>&1)
        judge "$file" $? "$output"
        # The threshold is in tenths. 10 is no protection at all.
        output=$(systemd-analyze security --offline=true --no-pager --threshold=15 "./$unit" 2>&1)
        status=$?
        [ "$status" -eq 0 ] || judge "$file" "$status" "$(printf '%s\n' "$output" | tail -n 1), and 1.5 is allowed"
    done
}

# ask_promtool CHECK|TEST RULES|CONFIG FILE. It also talks when all is well.
ask_promtool() {
    output=$(promtool "$1" "$2" "prometheus/$3" 2>&1)
    status=$?
    [ "$status" -ne 0 ] || output=""
    judge "prometheus/$3" "$status" "$output"
}

check_prometheus() {
    has promtool prometheus/ || return
    ask_promtool check rules alerts.yaml
    ask_promtool test rules alerts_test.yaml
    ask_promtool check config prometheus.yaml
}

for script in *.sh; do
    [ -f "$script" ] && { output=$(sh -n "$script" 2>&1); judge "$script" $? "$output"; }
done
[ -d kubernetes ] && check_kubernetes
[ -f Dockerfile ] && check_image
[ -f compose.yaml ] && check_compose
[ -d systemd ] && check_systemd
[ -d prometheus ] && check_prometheus

sort -u "$copy/.checked" >"$copy/.sorted"
echo "checked:"
sed 's/^/  /' "$copy/.sorted"
echo "skipped:$skipped"
comm -23 "$copy/.all" "$copy/.sorted" | sed 's/$/: no tool looked at it/; s/^/  /'
[ "$faults" -gt 0 ] && { echo "faults: $faults" >&2; exit 1; }
[ "$missing" -gt 0 ] && exit 2
exit 0
