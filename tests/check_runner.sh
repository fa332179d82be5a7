#!/bin/bash
# Holds tests/run.sh to its word: gives it programs that fail in every way it must notice. TAP.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

HERE=$(mktemp -d /tmp/fgt-runner-XXXXXX)
trap 'rm -rf "$HERE"' EXIT
tests=0

# program NAME SCRIPT: makes a program of that name.
program()
{
	printf '#!/bin/bash\n%s\n' "$2" >"$HERE/$1"
	chmod +x "$HERE/$1"
}

# expect NAME STATUS LAST_LINE TEXT: runs it, checks the exit status, the last line, and that TEXT
# stands somewhere in what was printed.
expect()
{
	local output status
	output=$(BUILD=$HERE LIMIT_S=1 tests/run.sh "$HERE/$1" 2>&1)
	status=$?
	tests=$((tests + 1))
	if [ "$status" -eq "$2" ] && [ "$(tail -n 1 <<<"$output")" = "$3" ] &&
		grep -qF -- "$4" <<<"$output"; then
		echo "ok $tests - $1"
	else
		echo "not ok $tests - $1: wanted status $2, '$3' and '$4'; got status $status and"
		sed 's/^/# /' <<<"$output"
		failures=1
	fi
}

failures=0
program passes 'echo 1..2; echo "ok 1 - a"; echo "ok 2 - b"'
expect passes 0 "2 passed, 0 failed" "passes"
program fails 'echo 1..2; echo "ok 1 - a"; echo "not ok 2 - b"; exit 1'
expect fails 1 "1 passed, 1 failed" "not ok 2 - b"
program crashes 'echo 1..2; echo "ok 1 - a"; kill -SEGV $$'
expect crashes 1 "1 passed, 1 failed" "killed by signal SIGSEGV"
program says_why 'echo 1..1; echo "not ok 1 - a"; echo "# because"; seq 60; exit 1'
expect says_why 1 "0 passed, 1 failed" "    # because"
program hangs 'echo 1..1; echo "ok 1 - a"; sleep 60'
expect hangs 1 "1 passed, 1 failed" "took longer than 1 s"
program is_silent 'exit 0'
expect is_silent 1 "0 passed, 1 failed" "printed no test"
program stops_early 'echo 1..3; echo "ok 1 - a"; exit 0'
expect stops_early 1 "1 passed, 1 failed" "planned 3 tests, printed 1"
program fails_to_clean_up 'echo 1..1; echo "ok 1 - a"; exit 3'
expect fails_to_clean_up 1 "1 passed, 1 failed" "exit status 3 without a failed test"
program skips 'echo 1..2; echo "ok 1 - a"; echo "not ok 2 # SKIP b"'
expect skips 0 "1 passed, 0 failed" "1 skipped"
several_at_a_time()
{
	local output
	output=$(BUILD=$HERE JOBS=3 tests/run.sh "$HERE"/{passes,fails,skips,crashes} -- \
		"$HERE"/{passes,fails_to_clean_up} 2>&1)
	tests=$((tests + 1))
	if [ "$(tail -n 1 <<<"$output")" = "8 passed, 3 failed" ] &&
		[ "$(grep -c 'passed .* failed .* s' <<<"$output")" -eq 6 ]; then
		echo "ok $tests - several_at_a_time"
	else
		echo "not ok $tests - several_at_a_time:"
		sed 's/^/# /' <<<"$output"
		failures=1
	fi
}
several_at_a_time
expect is_not_there 1 "0 passed, 1 failed" "exit status 127"
echo "1..$tests"
exit $failures
