#!/usr/bin/env bash
# Asks several backends behind Greenroom the same question and prints the answers one below the other, with time and pace.
#
#   PROMPT="What is 2+2?" scripts/compare_backends.sh [BACKEND...]     without names: all that /admin/backends lists
#
# Environment: PROMPT, MAX_TOKENS, GREENROOM_URL, GREENROOM_TOKEN, GREENROOM_MODEL, GREENROOM_TIMEOUT (seconds),
#   GREENROOM_ADMIN_URL (that of server.admin_bind).
# Exit code: 0 all answered, 1 at least one did not, 2 the comparison itself could not run.
set -euo pipefail
here=.
[[ $0 != */* ]] || here=${0%/*}
# shellcheck source=scripts/lib.sh
source "$here/lib.sh" || exit 2

prompt=${PROMPT:-What is 2+2?}
max_tokens=${MAX_TOKENS:-200}
[[ $max_tokens =~ ^[1-9][0-9]*$ ]] || fail "MAX_TOKENS must be a whole number above 0, not '$max_tokens'"

choose "$@" || unlisted

failed=0
printf 'Question: %s\n' "$prompt"
for backend in "${backends[@]}"; do
  if ask "$backend" "$prompt" "$max_tokens" && text=$(jq -e -r '.choices[0].message.content' "$answer" 2>/dev/null); then
    tokens=$(jq -r '.usage.completion_tokens // 0' "$answer")
    pace=$(bc <<<"scale=1; if ($seconds > 0) $tokens / $seconds else 0")
    printf '\n== %s  (%.3f s, %s tokens, %s tokens/s)\n%s\n' "$backend" "$seconds" "$tokens" "$pace" "$text"
  else
    printf '\n== %s  FAILED, HTTP %s\n%s\n' "$backend" "$code" "$(why "no complete answer")"
    failed=1
  fi
done
exit "$failed"
