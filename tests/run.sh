#!/bin/bash
# Runs test programs, one line each, and sums up: tests/run.sh [PROGRAM...] [-- PROGRAM...]
#
# Those in front of -- run $JOBS (default 1) at a time, those behind it alone: they measure, or want
# the machine for themselves.
#
# A program prints TAP and ends with 0. Its full output goes to $BUILD/test-logs/NAME.log and, when
# it fails, each failed test with the "#" lines below it and the end of all to the screen. What
# counts as a failed test: a "not ok" line; a program that crashes, exceeds its time, ends with an
# error but no failed test, prints no test, or prints fewer tests than it planned. Environment:
# BUILD (folder, default build), LIMIT_S (seconds a program may take, default 300).
set -uo pipefail

BUILD=${BUILD:-build}
LIMIT_S=${LIMIT_S:-300}
JOBS=${JOBS:-1}
LOGS=$BUILD/test-logs
export BUILD CMOCKA_MESSAGE_OUTPUT=TAP
export UBSAN_OPTIONS=${UBSAN_OPTIONS:-print_stacktrace=1}
unset CMOCKA_XML_FILE CMOCKA_TEST_FILTER

# build/san/tests/unit/test_x -> san/unit/test_x
short_name()
{
	local name=${1#"$BUILD"/}
	name=${name/#tests\//}
	echo "${name/\/tests\///}"
}

# Reads TAP; prints: passed failed skipped planned. cmocka 1.1.5 says "not ok N # SKIP" for a
# skipped test, and a program with several groups prints several plans.
count()
{
	awk '
	/^(not )?ok .*# *[Ss][Kk][Ii][Pp]/ { skipped++; next }
	/^ok( |$)/ { passed++ }
	/^not ok( |$)/ { failed++ }
	/^1\.\.[0-9]+/ { planned += substr($1, 4) }
	END { print passed + 0, failed + 0, skipped + 0, planned + 0 }' "$1"
}

# Why a program failed beyond its "not ok" lines; nothing when it did not.
complaint()
{
	local code=$1 passed=$2 failed=$3 skipped=$4 planned=$5
	local seen=$((passed + failed + skipped))

	if [ "$code" -eq 124 ] || [ "$code" -eq 137 ]; then
		echo "took longer than $LIMIT_S s"
	elif [ "$code" -gt 128 ]; then
		echo "killed by signal SIG$(kill -l $((code - 128)))"
	elif [ "$code" -ne 0 ] && [ "$failed" -eq 0 ]; then
		echo "exit status $code without a failed test"
	elif [ "$seen" -eq 0 ]; then
		echo "printed no test"
	elif [ "$seen" -lt "$planned" ]; then
		echo "planned $planned tests, printed $seen"
	fi
}

run_one()
{
	local program=$1 name log code start seconds passed failed skipped planned why
	name=$(short_name "$program")
	log=$LOGS/${name//\//-}.log
	[[ $program == */* ]] || program=./$program

	start=$(date +%s%N)
	# SIGINT first: a Python test then still removes its namespaces and processes.
	timeout -s INT -k 20 "$LIMIT_S" "$program" >"$log" 2>&1 </dev/null
	code=$?
	seconds=$((($(date +%s%N) - start) / 100000000))

	read -r passed failed skipped planned < <(count "$log")
	why=$(complaint "$code" "$passed" "$failed" "$skipped" "$planned")
	[ -z "$why" ] || failed=$((failed + 1))

	printf '%-40s %4d passed %3d failed %4d.%d s' "$name" "$passed" "$failed" \
		$((seconds / 10)) $((seconds % 10))
	[ "$skipped" -eq 0 ] || printf '  %d skipped' "$skipped"
	[ -z "$why" ] || printf '  %s' "$why"
	echo
	if [ "$failed" -gt 0 ]; then
		awk '/^not ok( |$)/ && !/# *[Ss][Kk][Ii][Pp]/ { print; why = 1; next }
			why && /^#/ { print; next } { why = 0 }' "$log" | sed 's/^/    /'
		echo "    the end of $log:"
		tail -n 40 "$log" | sed 's/^/    | /'
	elif [ "$skipped" -gt 0 ]; then
		grep -iE '^(not )?ok .*# *skip' "$log" | sed 's/^not ok/ok/; s/^/    /'
	fi

	echo "$passed $failed $skipped" >>"$COUNTS"
}

# In the background, and says what it has to say at once.
run_beside()
{
	local said
	said=$(run_one "$1")
	printf '%s\n' "$said"
}

mkdir -p "$LOGS"
COUNTS=$(mktemp "$LOGS/counts-XXXXXX")
trap 'rm -f "$COUNTS"' EXIT
trap 'kill $(jobs -p) 2>/dev/null; exit 130' INT TERM
while [ $# -gt 0 ] && [ "$1" != -- ]; do
	[ "$(jobs -pr | wc -l)" -lt "$JOBS" ] || wait -n
	run_beside "$1" &
	shift
done
wait
for program in "${@:2}"; do
	run_one "$program"
done
read -r total_passed total_failed total_skipped < <(
	awk '{ p += $1; f += $2; s += $3 } END { print p + 0, f + 0, s + 0 }' "$COUNTS")
[ "$total_skipped" -eq 0 ] || echo "$total_skipped skipped (reasons above)"
echo "$total_passed passed, $total_failed failed"
[ "$total_failed" -eq 0 ] && [ "$total_passed" -gt 0 ]
