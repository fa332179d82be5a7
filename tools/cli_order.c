#include "tools/cli_order.h"

#include <string.h>
#include "tools/cli_json.h"

#define GRACE_MS 2000 /* the server says itself that a wait is over: let it */

struct fg_cli_order fg_cli_order(const struct fg_cli_verb *verb)
{
	return (struct fg_cli_order){.verb = verb,
				     .socket = FG_CLI_SOCKET,
				     .wait_ms = FG_CLI_WAIT_MS};
}

static int set_why(struct fg_cli_order *order, const char *value)
{
	json_t *text = json_string(value);

	json_decref(text);
	if (!text)
		return fg_cli_usage(order->verb, "--why: not UTF-8");
	if (strlen(value) > FG_CLI_WHY_BYTES)
		return fg_cli_usage(order->verb, "--why: %zu bytes, at most %d fit", strlen(value),
				    FG_CLI_WHY_BYTES);
	order->why = value;
	return -1;
}

int fg_cli_order_option(struct fg_cli_order *order, int option, const char *value)
{
	switch (option) {
	case 's':
		order->socket = value;
		return -1;
	case 'e':
		return fg_cli_u64(order->verb, "--expect-current", value, 1, UINT32_MAX,
				  &order->expect)
			       ? FG_CLI_USAGE
			       : -1;
	case 'y':
		return set_why(order, value);
	case 'w':
		return fg_cli_time(order->verb, "--wait", value, 1, FG_CLI_MAX_WAIT_MS,
				   &order->wait_ms)
			       ? FG_CLI_USAGE
			       : -1;
	case 'n':
		order->may_pend = true;
		order->wait_ms = 0;
		return -1;
	default:
		return fg_cli_option(order->verb, option, value, &order->output);
	}
}

int fg_cli_order_parse(struct fg_cli_order *order, int argc, char **argv, int operands,
		       const char *names)
{
	static const struct option options[] = {FG_CLI_ORDER_OPTIONS};
	int option, code = -1;

	while (code < 0 && (option = getopt_long(argc, argv, "", options, NULL)) != -1)
		code = fg_cli_order_option(order, option, optarg);
	if (code < 0 && argc - optind != operands)
		return operands ? fg_cli_usage(order->verb, "want %s", names)
				: fg_cli_usage(order->verb, "takes no '%s'", argv[optind]);
	return code;
}

int fg_cli_order_version(const struct fg_cli_order *order, const char *text, json_int_t *version)
{
	uint64_t number;

	if (fg_cli_u64(order->verb, "VERSION", text, 1, INT64_MAX, &number))
		return FG_CLI_USAGE;
	*version = (json_int_t)number;
	return 0;
}

void fg_cli_order_fill(const struct fg_cli_order *order, json_t *request)
{
	json_object_set_new(request, "wait_ms", json_integer((json_int_t)order->wait_ms));
	if (order->expect)
		json_object_set_new(request, "expect", json_integer((json_int_t)order->expect));
	if (order->why)
		json_object_set_new(request, "why", json_string(order->why));
}

int fg_cli_order_ask(const struct fg_cli_order *order, json_t *request, json_t **reply)
{
	int code;

	if (!request)
		return fg_cli_usage(order->verb, "MODEL is not UTF-8");
	fg_cli_order_fill(order, request);
	code = fg_cli_control_ask(order->socket, request, (uint32_t)order->wait_ms + GRACE_MS,
				  reply);
	if (code)
		return code;
	if (order->may_pend && fg_cli_control_code(*reply) == FG_CLI_TIMEOUT) {
		json_decref(*reply);
		*reply = json_pack("{s:b, s:b}", "ok", 1, "pending", 1);
	}
	code = fg_cli_control_verdict(*reply);
	if (code) {
		if (order->output.json)
			fg_cli_control_print(*reply);
		json_decref(*reply);
		*reply = NULL;
	}
	return code;
}

void fg_cli_order_print(const struct fg_cli_order *order, const json_t *reply,
			void (*print)(const json_t *reply))
{
	if (order->output.json)
		fg_cli_control_print(reply);
	else if (json_is_true(json_object_get(reply, "pending")))
		puts("asked for; flipgate status shows how it goes");
	else
		print(reply);
}

int fg_cli_order_run(const struct fg_cli_order *order, json_t *request,
		     void (*print)(const json_t *reply))
{
	json_t *reply;
	int code = fg_cli_order_ask(order, request, &reply);

	if (code)
		return code;
	fg_cli_order_print(order, reply, print);
	json_decref(reply);
	return 0;
}
