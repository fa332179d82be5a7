#include <stdio.h>
#include <string.h>
#include "userspace/daemon/admin.h"
#include "userspace/daemon/repository.h"

static const char *const verbs[FG_ADMIN_VERBS] = {
	[FG_ADMIN_STATUS] = "status",	[FG_ADMIN_HISTORY] = "history",
	[FG_ADMIN_PROMOTE] = "promote", [FG_ADMIN_ROLLBACK] = "rollback",
	[FG_ADMIN_ROLLOUT] = "rollout", [FG_ADMIN_PAUSE] = "pause",
	[FG_ADMIN_RESUME] = "resume",	[FG_ADMIN_ABORT] = "abort",
	[FG_ADMIN_SHADOW] = "shadow",	[FG_ADMIN_RELOAD] = "reload",
	[FG_ADMIN_UPGRADE] = "upgrade",
};

const char *fg_admin_verb_name(enum fg_admin_verb verb)
{
	return (unsigned int)verb < FG_ADMIN_VERBS ? verbs[verb] : "?";
}

/* ---- values: each returns NULL, or what was wanted ---- */

static const char *take_verb(const json_t *value, struct fg_admin_request *request)
{
	(void)value;
	(void)request; /* it was read first of all */
	return NULL;
}

static const char *take_number(const json_t *value, int64_t low, int64_t high, uint64_t *to,
			       const char *wanted)
{
	int64_t number = json_integer_value(value);

	if (!json_is_integer(value) || number < low || number > high)
		return wanted;
	*to = (uint64_t)number;
	return NULL;
}

static const char *take_text(const json_t *value, char *to, size_t size, const char *wanted)
{
	const char *text = json_string_value(value);

	if (!text || strlen(text) >= size)
		return wanted;
	strcpy(to, text);
	return NULL;
}

static const char *take_model(const json_t *value, struct fg_admin_request *request)
{
	const char *text = json_string_value(value);

	if (!text || !fg_repository_valid_model(text))
		return "is not a model name: 1 to 63 of A-Z a-z 0-9 _ . -";
	return take_text(value, request->model, sizeof(request->model), "is too long");
}

static const char *take_version(const json_t *value, struct fg_admin_request *request)
{
	return take_number(value, 1, INT64_MAX, &request->version,
			   "wants an integer: versions are numbers from 1");
}

static const char *take_steps(const json_t *value, struct fg_admin_request *request)
{
	static const char wanted[] = "wants 1 to 16 integers, parts of 10000";
	size_t i, count = json_array_size(value);
	uint64_t step;

	if (!count || count > FG_CANARY_MAX_STEPS)
		return wanted;
	for (i = 0; i < count; i++) {
		if (take_number(json_array_get(value, i), 1, FG_CANARY_WHOLE, &step, wanted))
			return wanted;
		request->plan.steps[i] = (uint32_t)step;
	}
	request->plan.step_count = (uint32_t)count;
	return NULL;
}

static const char *take_ms(const json_t *value, uint64_t *to_ns)
{
	uint64_t ms = 0;
	const char *why = take_number(value, 0, 86400000, &ms, "wants an integer, 0 to 86400000");

	*to_ns = ms * 1000000;
	return why;
}

static const char *take_hold(const json_t *value, struct fg_admin_request *request)
{
	return take_ms(value, &request->plan.hold_ns);
}

static const char *take_window(const json_t *value, struct fg_admin_request *request)
{
	return take_ms(value, &request->plan.window_ns);
}

static const char *take_guards(const json_t *value, struct fg_admin_request *request)
{
	struct fg_canary_guards *guards = &request->plan.guards;
	json_int_t min_requests = guards->min_requests;

	if (json_unpack((json_t *)value, "{s?F,s?F,s?F,s?I !}", "error_rate", &guards->error_rate,
			"p99", &guards->p99, "drift", &guards->drift, "min_requests",
			&min_requests) ||
	    min_requests < 1 || min_requests > UINT32_MAX)
		return "takes error_rate, p99, drift (numbers) and min_requests (an integer from "
		       "1)";
	guards->min_requests = (uint32_t)min_requests;
	return NULL;
}

static const char *take_share(const json_t *value, struct fg_admin_request *request)
{
	uint64_t share = 0;
	const char *why = take_number(value, 0, FG_CANARY_WHOLE, &share,
				      "wants an integer, parts of 10000; 0 ends it");

	request->share = (uint32_t)share;
	return why;
}

static const char *take_limit(const json_t *value, struct fg_admin_request *request)
{
	uint64_t limit = 0;
	const char *why =
		take_number(value, 1, FG_AUDIT_MAX_LINES, &limit, "wants an integer, 1 to 1000");

	request->limit = (uint32_t)limit;
	return why;
}

static const char *take_path(const json_t *value, struct fg_admin_request *request)
{
	static const char wanted[] = "wants an absolute path";

	if (take_text(value, request->path, sizeof(request->path), wanted) ||
	    request->path[0] != '/')
		return wanted;
	return NULL;
}

static const char *take_why(const json_t *value, struct fg_admin_request *request)
{
	return take_text(value, request->why, sizeof(request->why),
			 "wants a text of at most 200 bytes");
}

static const char *take_expect(const json_t *value, struct fg_admin_request *request)
{
	uint64_t generation = 0;
	const char *why = take_number(value, 0, UINT32_MAX, &generation,
				      "wants an integer: the number of a generation");

	request->expects = true;
	request->expect = (uint32_t)generation;
	return why;
}

static const char *take_wait(const json_t *value, struct fg_admin_request *request)
{
	uint64_t ms = 0;
	const char *why =
		take_number(value, 0, FG_ADMIN_MAX_WAIT_MS, &ms, "wants an integer, 0 to 600000");

	request->until_ns = request->arrived_ns + ms * 1000000;
	return why;
}

/* ---- keys ---- */

#define BIT(verb) (1u << FG_ADMIN_##verb)
#define ALL	  ((1u << FG_ADMIN_VERBS) - 1)
#define OF_MODELS                                                                                  \
	(BIT(PROMOTE) | BIT(ROLLBACK) | BIT(ROLLOUT) | BIT(PAUSE) | BIT(RESUME) | BIT(ABORT) |     \
	 BIT(SHADOW))
#define CHANGES (OF_MODELS | BIT(RELOAD) | BIT(UPGRADE))

static const struct key {
	const char *name;
	uint32_t may, must; /* bit v: verb v */
	const char *(*take)(const json_t *value, struct fg_admin_request *request);
} keys[] = {
	{"verb", ALL, ALL, take_verb},
	{"model", OF_MODELS, OF_MODELS, take_model},
	{"version", BIT(PROMOTE) | BIT(ROLLOUT) | BIT(SHADOW),
	 BIT(PROMOTE) | BIT(ROLLOUT) | BIT(SHADOW), take_version},
	{"steps", BIT(ROLLOUT), BIT(ROLLOUT), take_steps},
	{"hold_ms", BIT(ROLLOUT), 0, take_hold},
	{"window_ms", BIT(ROLLOUT), 0, take_window},
	{"guards", BIT(ROLLOUT), 0, take_guards},
	{"share", BIT(SHADOW), BIT(SHADOW), take_share},
	{"limit", BIT(HISTORY), 0, take_limit},
	{"path", BIT(UPGRADE), BIT(UPGRADE), take_path},
	{"why", CHANGES, 0, take_why},
	{"expect", CHANGES, 0, take_expect},
	{"wait_ms", CHANGES, 0, take_wait},
};
#define KEYS (sizeof(keys) / sizeof(keys[0]))

static json_t *take_key(const char *name, const json_t *value, struct fg_admin_request *request)
{
	const char *verb = fg_admin_verb_name(request->verb), *why;
	uint32_t i;

	for (i = 0; i < KEYS && strcmp(keys[i].name, name); i++)
		;
	if (i == KEYS || !(keys[i].may & 1u << request->verb))
		return fg_admin_error("bad_request", "%s takes no \"%.40s\"", verb, name);
	why = keys[i].take(value, request);
	return why ? fg_admin_error("bad_request", "%s: \"%s\" %s", verb, name, why) : NULL;
}

static json_t *find_verb(const json_t *object, struct fg_admin_request *request)
{
	const char *verb = json_string_value(json_object_get(object, "verb"));
	char known[160] = "";
	uint32_t i;

	if (!verb)
		return fg_admin_error("bad_request", "a request is an object with a \"verb\"");
	for (i = 0; i < FG_ADMIN_VERBS; i++) {
		request->verb = (enum fg_admin_verb)i;
		if (!strcmp(verb, verbs[i]))
			return NULL;
		snprintf(known + strlen(known), sizeof(known) - strlen(known), "%s%s",
			 i ? ", " : "", verbs[i]);
	}
	return fg_admin_error("bad_request", "no verb \"%.40s\": %s", verb, known);
}

json_t *fg_admin_parse(const json_t *object, struct fg_admin_request *request, uint64_t now_ns)
{
	json_t *refused = find_verb(object, request), *value;
	const char *name, *why;
	uint32_t i;

	request->arrived_ns = now_ns;
	request->until_ns = now_ns + FG_ADMIN_WAIT_MS * 1000000ull;
	request->limit = FG_ADMIN_LINES;
	request->plan.hold_ns = FG_ADMIN_HOLD_MS * 1000000ull;
	request->plan.guards.min_requests = FG_ADMIN_MIN_REQUESTS;
	json_object_foreach((json_t *)object, name, value)
	{
		if (refused)
			return refused;
		refused = take_key(name, value, request);
	}
	for (i = 0; i < KEYS && !refused; i++)
		if (keys[i].must & 1u << request->verb && !json_object_get(object, keys[i].name))
			refused = fg_admin_error("bad_request", "%s: \"%s\" is missing",
						 fg_admin_verb_name(request->verb), keys[i].name);
	if (!refused && request->verb == FG_ADMIN_ROLLOUT && fg_canary_check(&request->plan, &why))
		refused = fg_admin_error("bad_request", "rollout: %s", why);
	return refused;
}
