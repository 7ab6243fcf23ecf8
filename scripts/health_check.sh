#!/usr/bin/env bash
# Asks each backend behind Greenroom once, by a pinned request of one token, and tells status and seconds.
#
#   scripts/health_check.sh [BACKEND...]      without names: all that /admin/backends lists (needs an admin's token)
#
# Environment: GREENROOM_URL, GREENROOM_TOKEN, GREENROOM_MODEL, GREENROOM_TIMEOUT (seconds),
#   GREENROOM_ADMIN_URL (that of server.admin_bind).
# Exit code: 0 all healthy, 1 at least one is not or a model has none, 2 the check itself could not run.
set -euo pipefail
here=.
[[ $0 != */* ]] || here=${0%/*}
# shellcheck source=scripts/lib.sh
source "$here/lib.sh" || exit 2

choose "$@" || unlisted

failing=()
total=0
for backend in "${backends[@]}"; do
  if ask "$backend" ping 1; then
    printf '%-32s healthy  %s  %8.3f s\n' "$backend" "$code" "$seconds"
    total=$(bc <<<"$total + $seconds")
  elif [ "$code" = 401 ]; then
    unknown_token
  else
    printf '%-32s FAILED   %s  %8.3f s  %s\n' "$backend" "$code" "$seconds" "$(why "no complete answer")"
    failing+=("$backend")
  fi
done

healthy=$((${#backends[@]} - ${#failing[@]}))
while IFS=$'\t' read -r name reasons; do
  printf 'model %-26s FAILED   no backend takes requests for it; %s\n' "$name" "$reasons"
  failing+=("model $name")
done < <(unserved "$@")
printf '\n%d of %d backends are healthy' "$healthy" "${#backends[@]}"
[ "$healthy" -eq 0 ] || printf ', %.3f s on average' "$(bc <<<"scale=6; $total / $healthy")"
[ ${#failing[@]} -eq 0 ] || printf '; failing: %s' "${failing[*]}"
echo
[ ${#failing[@]} -eq 0 ]
