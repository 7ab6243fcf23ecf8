# What health_check.sh, alert_check.sh and compare_backends.sh share: the environment, calls of Greenroom, which backends to ask,
# one question to one of them. It is sourced by them, not run.
# shellcheck shell=bash disable=SC2034 # what is set here is for those who source it
export LC_NUMERIC=C # decimal points, whatever the terminal's language

# The SDKs' address ends with /v1, which paths here begin with.
url=${GREENROOM_URL:-http://127.0.0.1:3000}
url=${url%/} url=${url%/v1}
admin_url=${GREENROOM_ADMIN_URL:-$url}
admin_url=${admin_url%/} admin_url=${admin_url%/v1}
token=${GREENROOM_TOKEN:-your-token}
model=${GREENROOM_MODEL:-gpt-4o}
limit=${GREENROOM_TIMEOUT:-30}
# A model that reasons counts its thoughts in the limit of its answer, and may refuse a limit that leaves them no room.
thoughts=1024

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

declare -A serves=()

choose() { # [BACKEND...]; sets backends: those named, or else all that are listed. Fails if they cannot be listed
  backends=("$@")
  [ $# -eq 0 ] || return 0
  local listed lines name one
  listed=$(call /admin/backends -w '\n%{http_code}') || return 1
  status=${listed##*$'\n'}
  [ "$status" = 200 ] || return 1
  # Of each with a model that it serves: one that does not serve the usual one has not failed, nor one that serves none. What
  # only embeds, ranks or speaks does so by its name, as a rule.
  lines=$(jq -r --arg model "$model" '.backends[] | [.models[].model] as $all | select($all | length > 0) |
    ([$all[] | select(test("embed|rerank|moderat|whisper|tts|image"; "i") | not)] + $all)[0] as $other |
    "\(.name) \(if $all | index($model) then $model else $other end)"' <<<"${listed%$'\n'*}") || return 1
  while read -r name one; do
    [ -n "$name" ] || continue
    backends+=("$name")
    [ -n "${GREENROOM_MODEL:-}" ] || serves[$name]=$one
  done <<<"$lines"
  [ ${#backends[@]} -gt 0 ]
}

unlisted() {
  case ${status:-} in
    '') fail "the backends cannot be listed: Greenroom cannot be asked at $admin_url; start it, or set GREENROOM_URL" ;;
    200) fail "no backend that is listed at $admin_url serves a model; see models in the settings" ;;
    401) unknown_token ;;
  esac
  fail "the backends cannot be listed at $admin_url; name them as arguments, use an admin's token, \
or set GREENROOM_ADMIN_URL to the address of server.admin_bind"
}

unknown_token() {
  fail "Greenroom does not know the token; set GREENROOM_TOKEN"
}

unserved() { # [BACKEND...]; a line of each model that no backend takes requests for, of these backends if any are named: its name,
  # a tab, why. Only one model of a backend is asked. Fails if that cannot be known
  call /admin/backends --fail 2>/dev/null | jq -r --arg model "${GREENROOM_MODEL:-}" '.unserved[] |
    select(($model == "" or .model == $model) and ($ARGS.positional == [] or any(.reasons | keys[]; IN($ARGS.positional[])))) |
    "\(.model)\t\([.reasons | to_entries[] | "\(.key): \(.value)"] | join("; "))"' --args "$@" 2>/dev/null
}

ask() { # BACKEND PROMPT MAX_TOKENS; sets code and seconds, leaves the body in $answer. Fails unless a whole answer came with 200
  if put "$1" "$2" max_tokens "$3"; then
    return 0
  elif [ "$code" != 400 ] || ! jq -e '.error.param == "max_tokens"' "$answer" >/dev/null 2>&1; then
    return 1
  fi
  # The model knows the limit by the newer name only: it reasons.
  put "$1" "$2" max_completion_tokens $(($3 + thoughts))
}

put() { # BACKEND PROMPT LIMIT TOKENS
  local body broken
  body=$(jq -n --arg model "${serves[$1]:-$model}" --arg backend "$1" --arg prompt "$2" --arg limit "$3" --argjson tokens "$4" \
    '{model: $model, backend: $backend, messages: [{role: "user", content: $prompt}], ($limit): $tokens}')
  : >"$answer"
  # curl writes 000 where no answer came; one that began with 200 and broke off ends with a failure of curl's.
  read -r code seconds broken < <(
    call /v1/chat/completions -o "$answer" -w '%{http_code} %{time_total} ' --data-binary @- <<<"$body" 2>/dev/null ||
      printf broken
    echo
  )
  [ "$code$broken" = 200 ]
}

why() { # ELSE; what the error in $answer says, or else ELSE
  local words
  words=$(jq -r '.error | select(.) | "\(.code // .type): \(.message)"' "$answer" 2>/dev/null || true)
  printf '%s' "${words:-$1}"
}

answer=$(mktemp)
trap 'rm -f "$answer"' EXIT
