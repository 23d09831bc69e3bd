#!/bin/sh
# Makes the secrets of a deployment in the folder `secrets` beside this file: secrets.sh [HOST]
# HOST is the name or address at which Lynkhook finds Redis (default: redis). Replaces no file that is there.
set -eu

host=${1:-redis}
here=$(cd "$(dirname "$0")" && pwd)
folder=$here/secrets
refuse() {
    echo "usage: secrets.sh [HOST]: the name or address of Redis, without a port." >&2
    echo "For a port other than 6379, change it in secrets/*.env when they are made." >&2
    exit 2
}
case $host in
    -* | *[!A-Za-z0-9.:_-]* | '') refuse ;;
    *[!0-9A-Fa-f:.]*:* | *:*[!0-9A-Fa-f:.]*) refuse ;;
    *:*:*) host="[$host]" ;; # an address of IPv6
    *:*) refuse ;;
esac
if [ -e "$folder" ]; then
    echo "error: $folder is there already, and nothing in it was changed." >&2
    echo "To start anew, move the folder away. But keep its secrets.key: no other key opens the secrets that are stored." >&2
    exit 1
fi

# A sealing key as of `lynkhook secrets new-key`: 32 random bytes in base64.
random_base64() {
    head -c 32 /dev/urandom | base64
}

# macOS has no sha256sum.
sha256() {
    if command -v sha256sum >/dev/null; then sha256sum; else shasum -a 256; fi
}

# A folder of another name until it is complete, so that a second run after an interruption begins anew.
umask 077
new=$(mktemp -d "$here/.secrets.XXXXXX")
trap 'rm -rf "$new"' EXIT
trap 'exit 1' HUP INT TERM
cp "$here/redis/users.acl" "$new/users.acl"
for role in producer worker server operator keda backup cluster replica; do
    password=$(random_base64 | tr '+/' '-_' | tr -d '=')
    hash=$(printf %s "$password" | sha256)
    placeholder="#REPLACE-WITH-SHA256-OF-$(echo "$role" | tr '[:lower:]' '[:upper:]')-PASSWORD"
    sed "s|$placeholder|#${hash%% *}|" "$new/users.acl" >"$new/users.acl.new"
    mv "$new/users.acl.new" "$new/users.acl"
    case $role in
        replica) sed "s|REPLACE-WITH-REPLICA-PASSWORD|$password|" "$here/redis/cluster.conf" >"$new/cluster.conf" ;;
        keda | backup | cluster) printf 'username=%s\npassword=%s\n' "$role" "$password" >"$new/$role.env" ;;
        *) echo "LYNKHOOK_REDIS__URL=redis://$role:$password@$host:6379/" >"$new/$role.env" ;;
    esac
done
random_base64 >"$new/secrets.key"
# The folder protects the files. Containers mount some of them, and read them as other users.
chmod 0644 "$new"/*
mv "$new" "$folder"

echo "made $folder:"
echo "  users.acl                                      Redis's users, with hashes of their passwords"
echo "  producer.env worker.env server.env operator.env   LYNKHOOK_REDIS__URL for each role, at $host"
echo "  keda.env backup.env cluster.env                user name and password"
echo "  cluster.conf                                   for Redis Cluster alone: redis/cluster.conf with a password"
echo "  secrets.key                                    the key that seals customers' secrets: back it up"
echo "Next: start Redis with redis/redis.conf and this users.acl. deploy/README.md goes on from there."
