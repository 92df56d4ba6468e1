#!/bin/sh
# Installs the servers that the tests talk to, when they are missing. With arguments: only those named.
# AMQP_URL or POSTGRES_URL point the tests at servers that run elsewhere; then nothing is installed for them.
set -eu

have_rabbitmq() {
    [ -n "${AMQP_URL:-}" ] || command -v rabbitmq-server >/dev/null 2>&1 ||
        [ -x /usr/sbin/rabbitmq-server ] || ls /usr/lib/rabbitmq/lib/*/sbin/rabbitmq-server >/dev/null 2>&1
}
have_postgres() {
    [ -n "${POSTGRES_URL:-}" ] || command -v postgres >/dev/null 2>&1 ||
        ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1
}

wanted=${*:-rabbitmq postgres}
missing=""
for name in $wanted; do
    case $name in
    rabbitmq) have_rabbitmq || missing="$missing rabbitmq-server" ;;
    postgres) have_postgres || missing="$missing postgresql" ;;
    *) echo "error: unknown server '$name' (rabbitmq, postgres)" >&2 && exit 2 ;;
    esac
done
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null 2>&1; then
    echo "error: not installed:$missing" >&2
    echo "  why: this system has no apt-get to install them with" >&2
    echo "  fix: install them, or set AMQP_URL / POSTGRES_URL to servers that run already" >&2
    exit 78
fi
if [ "$(id -u)" = 0 ]; then
    root=""
elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
    root="sudo"
else
    echo "error: not installed:$missing" >&2
    echo "  why: installing needs root, and sudo is not usable without a password" >&2
    echo "  fix: run 'sudo apt-get install$missing', or set AMQP_URL / POSTGRES_URL to running servers" >&2
    exit 78
fi
echo "installing$missing"
export DEBIAN_FRONTEND=noninteractive
$root apt-get update -qq
# The package's own system-wide service is not wanted: the tests start private nodes.
# shellcheck disable=SC2086
$root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
