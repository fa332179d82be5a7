# What the scripts of the test machine share; $SUBJECT names the tests.
SERVER=10.77.0.1
DATA=/tests/data/digits
SOCKET=/run/flipgate.sock
count=0

# result NAME COMMAND...: one test, passed when the command ends with 0.
result()
{
	name=$1
	shift
	count=$((count + 1))
	if "$@"; then
		echo "ok $count - $SUBJECT: $name"
	else
		echo "not ok $count - $SUBJECT: $name"
	fi
}

# until SECONDS COMMAND...: tries the command until it succeeds.
until_done()
{
	end=$(($(date +%s) + $1))
	shift
	while ! "$@"; do
		[ "$(date +%s)" -lt $end ] || return 1
		sleep 0.2
	done
}

status_has()
{
	flipgate status --socket $SOCKET --output json 2>/tmp/status.err | tr -d ' \n' |
		grep -q "$1"
}

publish()
{
	mkdir -p /tmp/models/digits
	cp -r $DATA/"$1" /tmp/models/digits/"$1".tmp
	chmod -R a+rX /tmp/models
	mv /tmp/models/digits/"$1".tmp /tmp/models/digits/"$1"
}
