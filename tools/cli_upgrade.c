/* flipgate upgrade: a new flipgated takes control over, while the service serves. */
#include "tools/cli_common.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "tools/cli_json.h"
#include "tools/cli_order.h"

#define EVERY_MS   20
#define TIMEOUT_MS 2000

static const char help[] =
	"Usage: flipgate upgrade [--program PATH] [OPTION]...\n"
	"\n"
	"A new flipgated takes control over from the running one, which serves on: workers,\n"
	"sockets and maps stay as they are. Root only. Returns when the new one is in charge; one\n"
	"that does not fit is refused, and nothing has changed.\n"
	"\n"
	"  --program PATH        the new flipgated; default: the one beside this "
	"flipgate\n" FG_CLI_WAIT_HELP FG_CLI_ORDER_HELP "\n"
	"Example:\n"
	"  flipgate upgrade --program /usr/local/bin/flipgated\n";

/* The control process that is asked is the one that ends: its answer is a refusal, or none. What
 * came of it stands in status. */
struct upgrade {
	struct fg_cli_order order;
	long long before; /* upgrades so far, good or bad */
	int64_t until_ms;
};

/* Of a reply to status that says ok and has them, else -1. */
static long long upgrades_of(const json_t *status)
{
	const json_t *upgrades = json_object_get(json_object_get(status, "control"), "upgrades");

	return !fg_cli_control_code(status) && json_is_integer(upgrades)
		       ? json_integer_value(upgrades)
		       : -1;
}

/* Absolute and without links, because control runs elsewhere. 0, or an exit code. */
static int find_program(const char *program, char path[PATH_MAX])
{
	char beside[PATH_MAX];
	ssize_t length = readlink("/proc/self/exe", beside, sizeof(beside) - 1);
	char *slash;

	if (!program && length > 0) {
		beside[length] = 0;
		slash = strrchr(beside, '/');
		snprintf(slash + 1, sizeof(beside) - (size_t)(slash + 1 - beside), "flipgated");
		program = beside;
	}
	if (!program || !realpath(program, path) || access(path, X_OK))
		return fg_cli_fail(FG_CLI_BAD_DATA, "%s: %s: --program names the new flipgated",
				   program ? program : "flipgated", strerror(errno));
	return 0;
}

/* The reply to the request, made of status. */
static json_t *describe(const json_t *status)
{
	const json_t *control = json_object_get(status, "control");
	const char *error = fg_cli_text_of(control, "upgrade_error");

	if (*error)
		return json_pack("{s:b, s:s, s:s}", "ok", 0, "code", "failed", "error", error);
	return json_pack("{s:b, s:s, s:s, s:I}", "ok", 1, "version",
			 fg_cli_text_of(control, "version"), "program",
			 fg_cli_text_of(control, "program"), "control_pid",
			 (json_int_t)fg_cli_integer_of(status, "control_pid"));
}

/* Asks until a control process has counted this upgrade. 0 with *reply, or an exit code. */
static int await(const struct upgrade *upgrade, json_t **reply)
{
	const struct timespec pause = {.tv_nsec = EVERY_MS * 1000000};
	struct fg_error error = {"the new one is not in charge yet"};

	while (fg_cli_now_ms() < upgrade->until_ms) {
		long long upgrades;
		json_t *status;
		int code = fg_cli_control_try(upgrade->order.socket,
					      json_pack("{s:s}", "verb", "status"), TIMEOUT_MS,
					      &status, &error);

		upgrades = code ? -1 : upgrades_of(status);
		if (upgrades >= 0 && upgrades != upgrade->before) {
			*reply = describe(status);
			json_decref(status);
			return 0;
		}
		json_decref(status);
		nanosleep(&pause, NULL);
	}
	return fg_cli_fail(FG_CLI_TIMEOUT, "upgrade: %s", error.text);
}

/* Notes how many there were before. 0, or an exit code. */
static int ask_before(struct upgrade *upgrade)
{
	json_t *status;
	int code = fg_cli_control_ask(upgrade->order.socket, json_pack("{s:s}", "verb", "status"),
				      TIMEOUT_MS, &status);

	if (code)
		return code;
	upgrade->before = upgrades_of(status);
	code = fg_cli_control_verdict(status);
	if (!code && upgrade->before < 0)
		code = fg_cli_fail(FG_CLI_REFUSED,
				   "%s: this flipgated tells of no upgrades: too "
				   "old to be upgraded while it serves",
				   upgrade->order.socket);
	json_decref(status);
	return code;
}

static int take_over(struct upgrade *upgrade, json_t *request, json_t **reply)
{
	struct fg_cli_order *order = &upgrade->order;
	struct fg_error error;
	int code = ask_before(upgrade);

	if (code) {
		json_decref(request);
		return code;
	}
	upgrade->until_ms = fg_cli_now_ms() + (int64_t)order->wait_ms;
	fg_cli_order_fill(order, request);
	code = fg_cli_control_try(order->socket, request,
				  order->may_pend ? TIMEOUT_MS : (uint32_t)order->wait_ms, reply,
				  &error);
	if (!order->may_pend)
		return code ? await(upgrade, reply) : 0;
	/* What is refused at once is told; else it has been asked for. */
	if (code || fg_cli_control_code(*reply) == FG_CLI_TIMEOUT) {
		json_decref(*reply);
		*reply = json_pack("{s:b, s:b}", "ok", 1, "pending", 1);
	}
	return 0;
}

static void print_upgraded(const json_t *reply)
{
	printf("flipgated %s is in control, process %lld\n", fg_cli_text_of(reply, "version"),
	       fg_cli_integer_of(reply, "control_pid"));
}

static int run(const struct fg_cli_verb *verb, int argc, char **argv)
{
	static const struct option options[] = {{"program", required_argument, NULL, 'p'},
						FG_CLI_ORDER_OPTIONS};
	struct upgrade upgrade = {.order = fg_cli_order(verb)};
	const char *program = NULL;
	char path[PATH_MAX];
	json_t *reply;
	int option, code = -1;

	while (code < 0 && (option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option == 'p')
			program = optarg;
		else
			code = fg_cli_order_option(&upgrade.order, option, optarg);
	}
	if (code >= 0)
		return code;
	if (argc != optind)
		return fg_cli_usage(verb, "takes no '%s'", argv[optind]);
	code = find_program(program, path);
	if (!code)
		code = take_over(&upgrade, json_pack("{s:s, s:s}", "verb", "upgrade", "path", path),
				 &reply);
	if (code)
		return code;
	code = fg_cli_control_verdict(reply);
	if (!code || upgrade.order.output.json)
		fg_cli_order_print(&upgrade.order, reply, print_upgraded);
	json_decref(reply);
	return code;
}

const struct fg_cli_verb fg_cli_upgrade = {
	.name = "upgrade",
	.summary = "let a new flipgated take over without a pause",
	.help = help,
	.run = run,
};
