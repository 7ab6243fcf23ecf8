#!/bin/sh
# The compiler that Cargo calls: what is optimised fully goes by the profile of what Greenroom runs, where one fits the compiler.
# Names in a profile hold hashes of the compiler's version and of each package's features. So one of another version fits nothing, and
# what is built along with examples or tests, for which more features are on, is built nearly as without a profile.

case " $* " in
*" opt-level=3 "*) ;;
*) exec "$@" ;;
esac
toolchain=$("$1" -vV | sed -n '/^host: /h; /^release: /{G; s/^release: \(.*\)\nhost: /\1-/p;}')
profile=${0%/*}/profile/$toolchain.profdata
[ -f "$profile" ] || exec "$@"
set -- "$@" "-Cprofile-use=$profile" -Cllvm-args=-no-pgo-warn-mismatch # what changed since is built as without a profile
case $toolchain in
*-x86_64-*-linux-*)
  # What never ran stands apart from what did, within functions too: at low rates each request meets cold caches, and reads less.
  set -- "$@" -Cllvm-args=-split-machine-functions -Clink-arg=-Wl,-z,keep-text-section-prefix
  ;;
esac
exec "$@"
