#include "tools/cli_why.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include "tools/cli_control.h"
#include "tools/cli_json.h"

#define TIMEOUT_MS 1000

/* "tcp://HOST:PORT" without the first part. */
static const char *bare(const char *address)
{
	const char *after = strstr(address, "://");

	return after ? after + 3 : address;
}

static bool same_port(const char *a, const char *b)
{
	const char *first = strrchr(a, ':'), *second = strrchr(b, ':');

	return first && second && !strcmp(first, second);
}

/* A name (localhost) or a wildcard is told by its port. */
static bool listens(const json_t *reply, const char *key, const char *address)
{
	const bool named = strspn(address, "0123456789.:[]abcdefABCDEF") != strlen(address);
	const json_t *one;
	const char *text;
	size_t i;

	json_array_foreach(json_object_get(reply, key), i, one)
	{
		text = json_string_value(one);
		if (text && (!strcmp(text, address) ||
			     (same_port(text, address) && (named || !strncmp(text, "0.0.0.0:", 8) ||
							   !strncmp(text, "[::]:", 5)))))
			return true;
	}
	return false;
}

static bool is_live(const json_t *reply, const char *model)
{
	const json_t *one;
	size_t i;

	json_array_foreach(json_object_get(reply, "models"), i,
			   one) if (!strcmp(fg_cli_text_of(one, "model"), model) &&
				    fg_cli_integer_of(one, "live")) return true;
	return false;
}

static const json_t *remark_on(const json_t *reply, const char *model)
{
	const json_t *one;
	size_t i;

	json_array_foreach(json_object_get(json_object_get(reply, "store"), "remarks"), i,
			   one) if (!strcmp(fg_cli_text_of(one, "model"), model)) return one;
	return NULL;
}

static const char *explain(const json_t *reply, const char *address, const char *model, int code,
			   const char *error, char *text, size_t size)
{
	const char *waits = fg_cli_text_of(reply, "not_ready");
	const json_t *remark = is_live(reply, model) ? NULL : remark_on(reply, model);

	if (code != -EREMOTEIO && *waits)
		snprintf(text, size, "no answer: flipgated listens on %s, but is not ready: %s",
			 address, waits);
	else if (code == -EREMOTEIO && remark)
		snprintf(text, size, "%s: %s: %s", error, fg_cli_text_of(remark, "path"),
			 fg_cli_text_of(remark, "reason"));
	else
		return error;
	return text;
}

const char *fg_cli_why(const char *socket, const char *address, const char *model, int code,
		       const char *error, char *text, size_t size)
{
	struct fg_error failed;
	json_t *reply;

	address = bare(address);
	if (fg_cli_control_try(socket, json_pack("{s:s}", "verb", "status"), TIMEOUT_MS, &reply,
			       &failed))
		return error;
	if (listens(reply, "listen", address) || listens(reply, "listen_tcp", address))
		error = explain(reply, address, model, code, error, text, size);
	json_decref(reply);
	return error;
}
