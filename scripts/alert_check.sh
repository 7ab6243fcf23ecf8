#!/usr/bin/env bash
# Asks each backend behind Greenroom once and posts {"text": …} to a webhook for each that does not answer 200. Made for cron.
#
#   WEBHOOK_URL=https://… scripts/alert_check.sh [BACKEND...]     without names: all that /admin/backends lists
#
# Environment: GREENROOM_URL, GREENROOM_TOKEN, GREENROOM_MODEL, GREENROOM_TIMEOUT (seconds), WEBHOOK_URL,
#   GREENROOM_ADMIN_URL (that of server.admin_bind),
#   SLOWER_THAN (seconds, such as 2.5; a slower answer is an alert, too),
#   STATE_FILE (with it only changes are posted, also that a backend is well again; without it every run posts).
# Exit code: 0 all healthy, 1 at least one is not, 2 the check itself could not run or the webhook took no message.
set -euo pipefail
export LC_NUMERIC=C # decimal points, whatever the terminal's language

url=${GREENROOM_URL:-http://127.0.0.1:3000}
url=${url%/}
admin_url=${GREENROOM_ADMIN_URL:-$url}
admin_url=${admin_url%/}
token=${GREENROOM_TOKEN:-your-token}
model=${GREENROOM_MODEL:-gpt-4o}
limit=${GREENROOM_TIMEOUT:-30}
slower_than=${SLOWER_THAN:-}
state_file=${STATE_FILE:-}

fail() {
  printf '%s: %s\n' "${0##*/}" "$*" >&2
  exit 2
}

for tool in curl jq bc; do
  command -v "$tool" >/dev/null || fail "$tool is missing; install it, for example: apt-get install $tool"
done
[ -n "${WEBHOOK_URL:-}" ] || fail "WEBHOOK_URL is not set; it is where alerts go, for example a Slack webhook"
[[ $slower_than =~ ^([0-9]+(\.[0-9]*)?|\.[0-9]+)?$ ]] || fail "SLOWER_THAN must be a number of seconds, not '$slower_than'"
[[ $WEBHOOK_URL =~ ^https?://[^[:space:]\"\\]+$ ]] || fail "WEBHOOK_URL is not an http or https address"

# The token goes in by a file descriptor: on the command line every user of this machine could read it.
call() { # PATH [CURL OPTION...]; what is under /admin is asked for where that is
  local path=$1 base=$url
  shift
  [[ $path != /admin/* ]] || base=$admin_url
  curl -sS --max-time "$limit" -H @<(printf 'Authorization: Bearer %s\n' "$token") \
    -H 'Content-Type: application/json' "$@" "$base$path"
}

post() { # TEXT; the URL is a secret of its own, so it goes in by a file descriptor, too
  jq -n --arg text "$1" '{text: $text}' |
    curl -sS --fail --max-time "$limit" -o /dev/null -H 'Content-Type: application/json' --data-binary @- \
      --config <(printf 'url = "%s"\n' "$WEBHOOK_URL") || unposted=yes
}

if [ $# -eq 0 ]; then
  # Greenroom itself being away is the one failure that no backend's name can tell.
  if ! names=$(call /admin/backends --fail | jq -r '.backends[].name'); then
    post "Greenroom at $url: the backends cannot be listed"
    fail "the backends cannot be listed at $admin_url; name them as arguments, use an admin's token, \
or set GREENROOM_ADMIN_URL to the address of server.admin_bind"
  fi
  mapfile -t backends <<<"$names"
else
  backends=("$@")
fi

was_failing() { # BACKEND
  [ -n "$state_file" ] && [ -f "$state_file" ] && grep -Fxq -- "$1" "$state_file"
}

answer=$(mktemp)
trap 'rm -f "$answer"' EXIT
failing=()
unposted=
for backend in "${backends[@]}"; do
  body=$(jq -n --arg model "$model" --arg backend "$backend" \
    '{model: $model, backend: $backend, messages: [{role: "user", content: "ping"}], max_tokens: 1}')
  : >"$answer"
  # curl writes 000 where no answer came; one that began with 200 and broke off ends with a failure of curl's.
  read -r code seconds broken < <(
    call /v1/chat/completions -o "$answer" -w '%{http_code} %{time_total} ' --data-binary @- <<<"$body" 2>/dev/null ||
      printf broken
    echo
  )
  problem=
  if [ "$code$broken" != 200 ]; then
    why=$(jq -e -r '.error | select(.) | "\(.code // .type): \(.message)"' "$answer" 2>/dev/null || true)
    problem="HTTP $code: ${why:-no complete answer in $seconds s}"
  elif [ -n "$slower_than" ] && [ "$(bc <<<"$seconds > $slower_than")" = 1 ]; then
    problem="slow: $seconds s, more than $slower_than s"
  fi
  if [ -n "$problem" ]; then
    failing+=("$backend")
    printf '%s: %s\n' "$backend" "$problem"
    was_failing "$backend" || post "Greenroom backend $backend fails: $problem"
  elif was_failing "$backend"; then
    printf '%s: healthy again\n' "$backend"
    post "Greenroom backend $backend is healthy again"
  fi
done

[ -z "$unposted" ] || fail "the webhook took no message"
# Written last, and whole: what could not be posted is a change again the next time.
if [ -n "$state_file" ]; then
  : >"$state_file.new"
  [ ${#failing[@]} -eq 0 ] || printf '%s\n' "${failing[@]}" >"$state_file.new"
  mv -- "$state_file.new" "$state_file"
fi
[ ${#failing[@]} -eq 0 ]
