#!/usr/bin/env bash
# Runs the tests of all modules under the race detector. Arguments go to go test.
set -euo pipefail
cd "$(dirname "$0")"
status=0
for module in . bench interop; do
	echo "== go test in $module"
	(cd "$module" && go test -race -timeout 30m "$@" ./...) || status=1
done
exit $status
