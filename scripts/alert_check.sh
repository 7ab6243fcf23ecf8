#!/usr/bin/env bash
# Asks each backend behind Greenroom once and posts {"text": …} to a webhook for each that does not answer 200, and for each model
# that no backend takes requests for. Made for cron.
#
#   WEBHOOK_URL=https://… scripts/alert_check.sh [BACKEND...]     without names: all that /admin/backends lists
#
# Environment: GREENROOM_URL, GREENROOM_TOKEN, GREENROOM_MODEL, GREENROOM_TIMEOUT (seconds), WEBHOOK_URL,
#   GREENROOM_ADMIN_URL (that of server.admin_bind),
#   SLOWER_THAN (seconds, such as 2.5; a slower answer is an alert, too),
#   STATE_FILE (with it only changes are posted, also that a backend is well again; without it every run posts).
# Exit code: 0 all healthy, 1 at least one is not or a model has none, 2 the check itself could not run or the webhook took no message.
set -euo pipefail
here=.
[[ $0 != */* ]] || here=${0%/*}
# shellcheck source=scripts/lib.sh
source "$here/lib.sh" || exit 2

slower_than=${SLOWER_THAN:-}
state_file=${STATE_FILE:-}
[ -n "${WEBHOOK_URL:-}" ] || fail "WEBHOOK_URL is not set; it is where alerts go, for example a Slack webhook"
[[ $slower_than =~ ^([0-9]+(\.[0-9]*)?|\.[0-9]+)?$ ]] || fail "SLOWER_THAN must be a number of seconds, not '$slower_than'"
[[ $WEBHOOK_URL =~ ^https?://[^[:space:]\"\\]+$ ]] || fail "WEBHOOK_URL is not an http or https address"

post() { # TEXT; the URL is a secret of its own, so it goes in by a file descriptor, too
  jq -n --arg text "$1" '{text: $text}' |
    curl -sS --fail --max-time "$limit" -o /dev/null -H 'Content-Type: application/json' --data-binary @- \
      --config <(printf 'url = "%s"\n' "$WEBHOOK_URL") || unposted=yes
}

if ! choose "$@"; then
  # Greenroom itself being away is the one failure that no backend's name can tell.
  post "Greenroom at $url: the backends cannot be listed"
  unlisted
fi

was_failing() { # BACKEND
  [ -n "$state_file" ] && [ -f "$state_file" ] && grep -Fxq -- "$1" "$state_file"
}

failing=()
unposted=
for backend in "${backends[@]}"; do
  problem=
  if ! ask "$backend" ping 1; then
    problem="HTTP $code: $(why "no complete answer in $seconds s")"
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

is_known=yes
lines=$(unserved "$@") && all=$(GREENROOM_MODEL='' unserved) || is_known=
while IFS=$'\t' read -r name reasons; do
  [ -n "$name" ] || continue
  failing+=("model $name")
  problem="no backend takes requests for it; $reasons"
  printf 'model %s: %s\n' "$name" "$problem"
  was_failing "model $name" || post "Greenroom model $name fails: $problem"
done <<<"$lines"
# Of backends that were not asked this time nothing is known, but models are all listed. What is not known stays as it was.
kept=
if [ -n "$state_file" ] && [ -f "$state_file" ]; then
  while read -r name; do
    if printf '%s\n' "${failing[@]}" | grep -Fxq -- "$name"; then
      continue
    elif [ -z "$is_known" ]; then
      failing+=("$name")
      printf '%s: as before; nothing newer is known\n' "$name"
    elif [[ $'\n'$all == *$'\n'"${name#model }"$'\t'* ]]; then
      kept+=$name$'\n' # It is of other backends than those named.
    else
      post "Greenroom $name has a backend again"
    fi
  done < <(grep '^model ' "$state_file")
fi

[ -z "$unposted" ] || fail "the webhook took no message"
# Written last, and whole: what could not be posted is a change again the next time.
if [ -n "$state_file" ]; then
  printf %s "$kept" >"$state_file.new"
  [ ${#failing[@]} -eq 0 ] || printf '%s\n' "${failing[@]}" >>"$state_file.new"
  mv -- "$state_file.new" "$state_file"
fi
[ ${#failing[@]} -eq 0 ]
