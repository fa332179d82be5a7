/* Any line of the control socket: it is refused with words, or it is a request whose form is good.
 */
#include <jansson.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "userspace/daemon/admin.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

static void check_request(const struct fg_admin_request *request)
{
	const char *why;

	if (request->verb >= FG_ADMIN_VERBS || !memchr(request->model, 0, sizeof(request->model)) ||
	    !memchr(request->path, 0, sizeof(request->path)) ||
	    !memchr(request->why, 0, sizeof(request->why)) || request->version > INT64_MAX ||
	    request->share > FG_CANARY_WHOLE || request->limit > FG_AUDIT_MAX_LINES)
		abort();
	if (request->verb == FG_ADMIN_ROLLOUT && fg_canary_check(&request->plan, &why))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	json_t *object = json_loadb((const char *)bytes, length, 0, NULL), *refusal;
	struct fg_admin_request request = {0};

	if (!object)
		return 0;
	refusal = fg_admin_parse(object, &request, 1);
	if (!refusal)
		check_request(&request);
	else if (!json_is_string(json_object_get(refusal, "error")))
		abort();
	json_decref(refusal);
	json_decref(object);
	return 0;
}
