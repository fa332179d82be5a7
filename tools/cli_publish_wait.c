#include "tools/cli_publish_wait.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>
#include "tools/cli_common.h"
#include "tools/cli_control.h"
#include "tools/cli_json.h"

#define EVERY_MS    50
#define TIMEOUT_MS  2000
#define PATIENCE_MS 10000 /* without an answer: control may be on its way back */
#define DOUBT_MS    3000  /* so long it must be unwanted: the gateway may just not have decided */
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

enum fg_publish_state fg_publish_state(const json_t *status, const char *model_name,
				       uint64_t version, struct fg_error *why)
{
	const json_t *model = fg_cli_find(json_object_get(status, "models"), "model", model_name);
	const json_t *found = find_version(model, version);
	long long wanted = fg_cli_integer_of(model, "wanted");

	if (is_text(found, "state", "live"))
		return FG_PUBLISH_LIVE;
	if (is_text(found, "state", "failed")) {
		fg_error_set(why, 0, "%s", fg_cli_text_of(found, "error"));
		return FG_PUBLISH_FAILED;
	}
	if (is_text(found, "state", "new") && (uint64_t)wanted != version && !is_busy(status)) {
		fg_error_set(why, 0,
			     "the gateway keeps to version %lld, by its policy or somebody's "
			     "choice: flipgate promote %s %" PRIu64,
			     wanted, model_name, version);
		return FG_PUBLISH_UNWANTED;
	}
	return FG_PUBLISH_ON_ITS_WAY;
}

long long fg_publish_generation(const json_t *status)
{
	return fg_cli_integer_of(fg_cli_find(json_object_get(status, "generations"), "phase",
					     "live"),
				 "id");
}

/* Since when things are as they are. */
struct watch {
	int64_t begun_ms, answered_ms;
	int64_t wanted_ms; /* when none of them was unwanted, last */
};

/* -1: go on waiting; else an exit code. */
static int judge(const struct fg_publish *list, unsigned count, const json_t *status,
		 struct watch *watch, struct fg_error *error)
{
	int64_t now_ms = fg_cli_now_ms();
	bool all_live = true, unwanted = false;
	struct fg_error why;

	for (unsigned i = 0; i < count; i++) {
		enum fg_publish_state state =
			fg_publish_state(status, list[i].model, list[i].version, &why);

		all_live &= state == FG_PUBLISH_LIVE;
		unwanted |= state == FG_PUBLISH_UNWANTED;
		if ((state == FG_PUBLISH_FAILED && now_ms > watch->begun_ms + STALE_MS) ||
		    (state == FG_PUBLISH_UNWANTED && now_ms > watch->wanted_ms + DOUBT_MS))
			return fg_error_set(error, FG_CLI_REFUSED,
					    "%s version %" PRIu64 " is in place, but not live: %s",
					    list[i].model, list[i].version, why.text);
	}
	if (!unwanted)
		watch->wanted_ms = now_ms;
	return all_live ? FG_CLI_OK : -1;
}

int fg_publish_wait(const struct fg_publish *list, unsigned count, const char *socket,
		    uint64_t wait_ms, const volatile sig_atomic_t *stop, long long *generation,
		    struct fg_error *error)
{
	const struct timespec pause = {.tv_nsec = EVERY_MS * 1000000};
	int64_t begun_ms = fg_cli_now_ms();
	struct watch watch = {begun_ms, begun_ms, begun_ms};

	while (!*stop && fg_cli_now_ms() < watch.begun_ms + (int64_t)wait_ms) {
		json_t *status;
		int code = fg_cli_control_try(socket, json_pack("{s:s}", "verb", "status"),
					      TIMEOUT_MS, &status, error);

		if (!code && !fg_cli_control_code(status)) {
			watch.answered_ms = fg_cli_now_ms();
			code = judge(list, count, status, &watch, error);
			*generation = fg_publish_generation(status);
			json_decref(status);
			if (code >= 0)
				return code;
		} else {
			json_decref(status);
			if (code && fg_cli_now_ms() > watch.answered_ms + PATIENCE_MS)
				return code;
		}
		nanosleep(&pause, NULL);
	}
	return fg_error_set(error, FG_CLI_TIMEOUT,
			    "%s: what was published is in place, but not live yet; flipgate status "
			    "shows how it goes",
			    *stop ? "interrupted" : "the wait is over");
}
