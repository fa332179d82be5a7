#include <inttypes.h>
#include <stdio.h>
#include "userspace/daemon/control.h"
#include "userspace/shared/clock.h"

/* How what is held of a version compares with what lies on disk under its number. */
enum agreement {
	NOT_HELD, /* nothing to compare, or a reload looks at other folders for a moment */
	SAME,
	GONE,
	CHANGING, /* the files are not complete */
	CHANGED,  /* complete, and not compared yet */
	TAKEN,	  /* another plan, which is about to serve instead */
	DIFFERS,
};

static enum agreement compare(const struct fg_rollout *rollout,
			      const struct fg_store_version *found, int held)
{
	const struct fg_rollout_contents *contents = &rollout->contents[held < 0 ? 0 : held];

	if (held < 0 || rollout->trial.active)
		return NOT_HELD;
	if (!found)
		return GONE;
	if (contents->files == found->fingerprint)
		return SAME;
	if (!found->complete)
		return CHANGING;
	if (contents->other != found->fingerprint)
		return CHANGED;
	return contents->take ? TAKEN : DIFFERS;
}

static json_t *hex(uint64_t digest)
{
	char text[20] = "";

	if (digest)
		snprintf(text, sizeof(text), "%016" PRIx64, digest);
	return json_string(text);
}

/* What an operator should know of a version that serves and is not what its folder holds. */
static void add_remark(json_t *report, const char *model, uint64_t version, uint64_t other)
{
	const char *error = json_string_value(json_object_get(report, "error"));
	char text[512];

	if (other)
		snprintf(text, sizeof(text),
			 "differs from disk: the files there make plan %016" PRIx64
			 "; flipgate promote %s %" PRIu64 " takes them",
			 other, model, version);
	else
		snprintf(text, sizeof(text), "differs from disk: the files there do not work%s%s",
			 error && error[0] ? ": " : "", error ? error : "");
	json_object_set_new(report, "error", fg_control_report_text(text));
}

void fg_control_report_files(const struct fg_control *control, json_t *report, const char *model,
			     uint64_t version, uint64_t digest)
{
	static const char *const names[] = {"",	       "same",	"gone",	  "changing",
					    "changed", "taken", "differs"};
	const struct fg_rollout *rollout = fg_rollout_current(&control->state->rollout);
	const struct fg_store_version *found =
		fg_store_version(&control->repository.store, model, version);
	int held = fg_wanted_held(rollout, model, version);
	enum agreement agreement = compare(rollout, found, held);
	uint64_t other = agreement >= TAKEN ? rollout->contents[held].other_digest : 0;

	json_object_set_new(report, "digest", hex(digest));
	json_object_set_new(report, "files", json_string(names[agreement]));
	json_object_set_new(report, "disk_digest", hex(agreement == SAME ? digest : other));
	if (agreement == DIFFERS)
		add_remark(report, model, version, other);
}

void fg_control_report_retry(json_t *report, const struct fg_rollout_failure *failure)
{
	uint64_t now_ns = fg_clock_ns();
	double left_s = 0;

	if (failure && failure->passing && failure->retry_ns > now_ns)
		left_s = (double)(failure->retry_ns - now_ns) / 1e9;
	json_object_set_new(report, "tries",
			    json_integer(failure && failure->passing ? failure->tries : 0));
	json_object_set_new(report, "retry_s",
			    failure && failure->passing ? json_real(left_s) : json_null());
}
