#!/usr/bin/env bash
# Asks each backend behind Greenroom once, by a pinned request of one token, and tells status and seconds.
#
#   scripts/health_check.sh [BACKEND...]      without names: all that /admin/backends lists (needs an admin's token)
#
# Environment: GREENROOM_URL, GREENROOM_TOKEN, GREENROOM_MODEL, GREENROOM_TIMEOUT (seconds),
#   GREENROOM_ADMIN_URL (that of server.admin_bind).
# Exit code: 0 all healthy, 1 at least one is not, 2 the check itself could not run.
set -euo pipefail
export LC_NUMERIC=C # decimal points, whatever the terminal's language

url=${GREENROOM_URL:-http://127.0.0.1:3000}
url=${url%/}
admin_url=${GREENROOM_ADMIN_URL:-$url}
admin_url=${admin_url%/}
token=${GREENROOM_TOKEN:-your-token}
model=${GREENROOM_MODEL:-gpt-4o}
limit=${GREENROOM_TIMEOUT:-30}

fail() {
  printf '%s: %s\n' "${0##*/}" "$*" >&2
  exit 2
}

for tool in curl jq bc; do
  command -v "$tool" >/dev/null || fail "$tool is missing; install it, for example: apt-get install $tool"
done

# The token goes in by a file descriptor: on the command line every user of this machine could read it.
call() { # PATH [CURL OPTION...]; what is under /admin is asked for where that is
  local path=$1 base=$url
  shift
  [[ $path != /admin/* ]] || base=$admin_url
  curl -sS --max-time "$limit" -H @<(printf 'Authorization: Bearer %s\n' "$token") \
    -H 'Content-Type: application/json' "$@" "$base$path"
}

if [ $# -eq 0 ]; then
  names=$(call /admin/backends --fail | jq -r '.backends[].name') ||
    fail "the backends cannot be listed at $admin_url; name them as arguments, use an admin's token, \
or set GREENROOM_ADMIN_URL to the address of server.admin_bind"
  mapfile -t backends <<<"$names"
else
  backends=("$@")
fi

answer=$(mktemp)
trap 'rm -f "$answer"' EXIT
failing=()
total=0
for backend in "${backends[@]}"; do
  body=$(jq -n --arg model "$model" --arg backend "$backend" \
    '{model: $model, backend: $backend, messages: [{role: "user", content: "ping"}], max_tokens: 1}')
  # curl writes 000 where no answer came; one that began with 200 and broke off ends with a failure of curl's.
  read -r code seconds broken < <(
    call /v1/chat/completions -o "$answer" -w '%{http_code} %{time_total} ' --data-binary @- <<<"$body" 2>/dev/null ||
      printf broken
    echo
  )
  if [ "$code$broken" = 200 ]; then
    printf '%-32s healthy  %s  %8.3f s\n' "$backend" "$code" "$seconds"
    total=$(bc <<<"$total + $seconds")
  else
    why=$(jq -e -r '.error | select(.) | "\(.code // .type): \(.message)"' "$answer" 2>/dev/null || true)
    printf '%-32s FAILED   %s  %8.3f s  %s\n' "$backend" "$code" "$seconds" "${why:-no complete answer}"
    failing+=("$backend")
  fi
  : >"$answer"
done

healthy=$((${#backends[@]} - ${#failing[@]}))
printf '\n%d of %d backends are healthy' "$healthy" "${#backends[@]}"
[ "$healthy" -eq 0 ] || printf ', %.3f s on average' "$(bc <<<"scale=6; $total / $healthy")"
[ ${#failing[@]} -eq 0 ] || printf '; failing: %s' "${failing[*]}"
echo
[ ${#failing[@]} -eq 0 ]
