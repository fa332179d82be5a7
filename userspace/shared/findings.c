#include "userspace/shared/findings.h"

#include <stdio.h>
#include <string.h>
#include "userspace/shared/log.h"

void fg_remarks_add(struct fg_remarks *remarks, const struct fg_remark *remark)
{
	struct fg_remark *like = remarks->list, *end = like + remarks->count;

	while (like < end && (like->place != remark->place || strcmp(like->model, remark->model) ||
			      strcmp(like->reason, remark->reason)))
		like++;
	if (like < end && strcmp(like->path, remark->path))
		like->more++;
	else if (like == end && remarks->count < FG_REMARKS_MAX)
		remarks->list[remarks->count++] = *remark;
}

const char *fg_remark_text(const struct fg_remark *remark, char text[FG_REMARK_TEXT_BYTES])
{
	int used = snprintf(text, FG_REMARK_TEXT_BYTES, "%s%s%s", remark->path,
			    remark->path[0] ? ": " : "", remark->reason);

	if (remark->more)
		snprintf(text + used, FG_REMARK_TEXT_BYTES - (size_t)used, " (and %u more like it)",
			 remark->more);
	fg_log_clean(text);
	return text;
}

const struct fg_remark *fg_remarks_find(const struct fg_remarks *remarks, const char *model,
					uint64_t version)
{
	const struct fg_remark *found = NULL, *one;

	for (one = remarks->list; one < remarks->list + remarks->count; one++) {
		if (strcmp(one->model, model))
			continue;
		if (version && one->version == version)
			return one;
		if (!found)
			found = one;
	}
	return found;
}
