#include "tools/cli_publish_wait.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>
#include "tools/cli_common.h"
#include "tools/cli_control.h"
#include "tools/cli_json.h"

#define EVERY_MS    50
#define TIMEOUT_MS  2000
#define SEEN_MS	    10000
#define PATIENCE_MS 10000 /* without an answer: control may be on its way back */
#define DOUBT_MS    3000  /* so long it must be no more than ready: it may not be decided yet */
#define STALE_MS    1000  /* a failure seen earlier may be that of files that lay there before */

static bool is_text(const json_t *object, const char *key, const char *text)
{
	return strcmp(fg_cli_text_of(object, key), text) == 0;
}

/* Is the gateway busy with something that a new version has to wait for? */
static bool is_busy(const json_t *status)
{
	const json_t *canary = json_object_get(status, "canary");
	json_t *model;
	size_t i;

	if (is_text(canary, "phase", "starting") || is_text(canary, "phase", "running") ||
	    is_text(canary, "phase", "paused") ||
	    json_is_true(json_object_get(json_object_get(status, "reload"), "active")))
		return true;
	json_array_foreach(json_object_get(status, "models"), i, model)
	{
		if (fg_cli_find(json_object_get(model, "versions"), "state", "packing"))
			return true;
	}
	return false;
}

static const json_t *find_version(const json_t *model, uint64_t version)
{
	json_t *found;
	size_t i;

	json_array_foreach(json_object_get(model, "versions"), i, found)
	{
		if ((uint64_t)fg_cli_integer_of(found, "version") == version)
			return found;
	}
	return NULL;
}

/* The model's own rule, else what all others have. */
static const json_t *find_rule(const json_t *status, const char *model)
{
	const json_t *rules = json_object_get(status, "rules");
	const json_t *own = fg_cli_find(json_object_get(rules, "models"), "model", model);

	return own ? own : json_object_get(rules, "defaults");
}

static bool is_excluded(const json_t *status, const char *model, uint64_t version)
{
	const json_t *rule = find_rule(status, model);
	json_t *named;
	size_t i;

	if (!is_text(rule, "policy", "specific"))
		return false;
	json_array_foreach(json_object_get(rule, "versions"), i, named)
	{
		if ((uint64_t)json_integer_value(named) == version)
			return false;
	}
	return true;
}

enum fg_publish_state fg_publish_state(const json_t *status, const char *model_name,
				       uint64_t version, struct fg_error *why)
{
	const json_t *model = fg_cli_find(json_object_get(status, "models"), "model", model_name);
	const json_t *found = find_version(model, version);
	long long wanted = fg_cli_integer_of(model, "wanted");

	if (is_text(found, "state", "live"))
		return FG_PUBLISH_LIVE;
	if (is_excluded(status, model_name, version)) {
		fg_error_set(why, 0,
			     "its policy names other versions only: add %" PRIu64
			     " to them, and reload",
			     version);
		return FG_PUBLISH_EXCLUDED;
	}
	if (!found || is_text(found, "state", "copying"))
		return FG_PUBLISH_UNSEEN;
	if (is_text(found, "state", "failed")) {
		fg_error_set(why, 0, "%s", fg_cli_text_of(found, "error"));
		return FG_PUBLISH_FAILED;
	}
	if (is_text(found, "state", "new") && (uint64_t)wanted != version && !is_busy(status)) {
		fg_error_set(why, 0,
			     "the gateway keeps to version %lld, by its policy or somebody's "
			     "choice: flipgate promote %s %" PRIu64,
			     wanted, model_name, version);
		return FG_PUBLISH_READY;
	}
	return FG_PUBLISH_ON_ITS_WAY;
}

long long fg_publish_generation(const json_t *status)
{
	return fg_cli_integer_of(fg_cli_find(json_object_get(status, "generations"), "phase",
					     "live"),
				 "id");
}

/* One wait. */
struct watch {
	const struct fg_publish *list;
	unsigned count;
	int64_t begun_ms, answered_ms, until_ms;
	int64_t moving_ms; /* when none of them was READY, last */
};

/* A policy is no whim: who has it waits for a promote, and need not be watched for long. */
static bool is_decided(const struct watch *watch, const json_t *status, const char *model)
{
	return is_text(find_rule(status, model), "policy", "manual") ||
	       fg_cli_now_ms() > watch->moving_ms + DOUBT_MS;
}

/* -1: go on waiting; else an exit code. */
static int judge(struct watch *watch, const json_t *status, struct fg_publish_outcome *outcome,
		 struct fg_error *error)
{
	bool all = true, moving = true;
	struct fg_error why;

	*outcome = (struct fg_publish_outcome){.generation = fg_publish_generation(status),
					       .live = true};
	for (unsigned i = 0; i < watch->count; i++) {
		const struct fg_publish *one = &watch->list[i];
		enum fg_publish_state state =
			fg_publish_state(status, one->model, one->version, &why);

		if (state == FG_PUBLISH_EXCLUDED ||
		    (state == FG_PUBLISH_FAILED && fg_cli_now_ms() > watch->begun_ms + STALE_MS))
			return fg_error_set(error, FG_CLI_REFUSED,
					    "%s version %" PRIu64 " is in place, but not live: %s",
					    one->model, one->version, why.text);
		if (state == FG_PUBLISH_LIVE)
			continue;
		moving &= state != FG_PUBLISH_READY;
		all &= state == FG_PUBLISH_READY && is_decided(watch, status, one->model);
		if (outcome->live && state == FG_PUBLISH_READY)
			outcome->ready = why;
		outcome->live = false;
	}
	if (moving)
		watch->moving_ms = fg_cli_now_ms();
	return all ? FG_CLI_OK : -1;
}

/* As judge. */
static int look(const struct watch *watch, const json_t *status)
{
	struct fg_error why;

	for (unsigned i = 0; i < watch->count; i++)
		if (fg_publish_state(status, watch->list[i].model, watch->list[i].version, &why) ==
		    FG_PUBLISH_UNSEEN)
			return -1;
	return FG_CLI_OK;
}

/* `outcome` NULL: only until all are seen. */
static int wait_for(struct watch *watch, const char *socket, const volatile sig_atomic_t *stop,
		    struct fg_publish_outcome *outcome, struct fg_error *error)
{
	const struct timespec pause = {.tv_nsec = EVERY_MS * 1000000};

	while (!*stop && fg_cli_now_ms() < watch->until_ms) {
		json_t *status;
		int code = fg_cli_control_try(socket, json_pack("{s:s}", "verb", "status"),
					      TIMEOUT_MS, &status, error);

		if (!code && !fg_cli_control_code(status)) {
			watch->answered_ms = fg_cli_now_ms();
			code = outcome ? judge(watch, status, outcome, error) : look(watch, status);
			json_decref(status);
			if (code >= 0)
				return code;
		} else {
			json_decref(status);
			if (code && fg_cli_now_ms() > watch->answered_ms + PATIENCE_MS)
				return code;
		}
		nanosleep(&pause, NULL);
	}
	return fg_error_set(error, FG_CLI_TIMEOUT,
			    "%s: what was published is in place, but %s yet; flipgate status "
			    "shows how it goes",
			    *stop ? "interrupted" : "the wait is over",
			    outcome ? "not live" : "the gateway has not seen it");
}

static struct watch begin(const struct fg_publish *list, unsigned count, uint64_t wait_ms)
{
	int64_t now_ms = fg_cli_now_ms();

	return (struct watch){list, count, now_ms, now_ms, now_ms + (int64_t)wait_ms, now_ms};
}

int fg_publish_wait(const struct fg_publish *list, unsigned count, const char *socket,
		    uint64_t wait_ms, const volatile sig_atomic_t *stop,
		    struct fg_publish_outcome *outcome, struct fg_error *error)
{
	struct watch watch = begin(list, count, wait_ms);

	return wait_for(&watch, socket, stop, outcome, error);
}

int fg_publish_seen(const struct fg_publish *list, unsigned count, const char *socket,
		    const volatile sig_atomic_t *stop, struct fg_error *error)
{
	struct watch watch = begin(list, count, SEEN_MS);

	return wait_for(&watch, socket, stop, NULL, error);
}
