#!/usr/bin/env bash
# Asks several backends behind Greenroom the same question and prints the answers one below the other, with time and pace.
#
#   PROMPT="What is 2+2?" scripts/compare_backends.sh [BACKEND...]     without names: all that /admin/backends lists
#
# Environment: PROMPT, MAX_TOKENS, GREENROOM_URL, GREENROOM_TOKEN, GREENROOM_MODEL, GREENROOM_TIMEOUT (seconds),
#   GREENROOM_ADMIN_URL (that of server.admin_bind).
# Exit code: 0 all answered, 1 at least one did not, 2 the comparison itself could not run.
set -euo pipefail
export LC_NUMERIC=C # decimal points, whatever the terminal's language

url=${GREENROOM_URL:-http://127.0.0.1:3000}
url=${url%/}
admin_url=${GREENROOM_ADMIN_URL:-$url}
admin_url=${admin_url%/}
token=${GREENROOM_TOKEN:-your-token}
model=${GREENROOM_MODEL:-gpt-4o}
limit=${GREENROOM_TIMEOUT:-30}
prompt=${PROMPT:-What is 2+2?}
max_tokens=${MAX_TOKENS:-200}

fail() {
  printf '%s: %s\n' "${0##*/}" "$*" >&2
  exit 2
}

for tool in curl jq bc; do
  command -v "$tool" >/dev/null || fail "$tool is missing; install it, for example: apt-get install $tool"
done
[[ $max_tokens =~ ^[1-9][0-9]*$ ]] || fail "MAX_TOKENS must be a whole number above 0, not '$max_tokens'"

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
failed=0
printf 'Question: %s\n' "$prompt"
for backend in "${backends[@]}"; do
  body=$(jq -n --arg model "$model" --arg backend "$backend" --arg prompt "$prompt" --argjson max_tokens "$max_tokens" \
    '{model: $model, backend: $backend, messages: [{role: "user", content: $prompt}], max_tokens: $max_tokens}')
  : >"$answer"
  # curl writes 000 where no answer came; one that began with 200 and broke off ends with a failure of curl's.
  read -r code seconds broken < <(
    call /v1/chat/completions -o "$answer" -w '%{http_code} %{time_total} ' --data-binary @- <<<"$body" 2>/dev/null ||
      printf broken
    echo
  )
  if [ "$code$broken" = 200 ] && text=$(jq -e -r '.choices[0].message.content' "$answer" 2>/dev/null); then
    tokens=$(jq -r '.usage.completion_tokens // 0' "$answer")
    pace=$(bc <<<"scale=1; if ($seconds > 0) $tokens / $seconds else 0")
    printf '\n== %s  (%.3f s, %s tokens, %s tokens/s)\n%s\n' "$backend" "$seconds" "$tokens" "$pace" "$text"
  else
    why=$(jq -e -r '.error | select(.) | "\(.code // .type): \(.message)"' "$answer" 2>/dev/null || true)
    printf '\n== %s  FAILED, HTTP %s\n%s\n' "$backend" "$code" "${why:-no complete answer}"
    failed=1
  fi
done
exit "$failed"
