#include "sched/share.h"

/* What those that wait have had at least; UINT64_MAX: nobody waits. */
static uint64_t least_had_ns(const struct fg_share *share)
{
	uint64_t least_ns = UINT64_MAX;
	uint32_t i;

	for (i = 0; i < FG_BATCH_MAX_ENTRIES; i++)
		if (share->lines[i].count && share->lines[i].had_ns < least_ns)
			least_ns = share->lines[i].had_ns;
	return least_ns;
}

uint32_t fg_share_waiting(const struct fg_share *share)
{
	uint32_t count = 0, i;

	for (i = 0; i < FG_BATCH_MAX_ENTRIES; i++)
		count += share->lines[i].count;
	return count;
}

bool fg_share_has_room(const struct fg_share *share, uint32_t entry, uint64_t cost_ns)
{
	const struct fg_share_line *line = &share->lines[entry];
	uint32_t free_places = share->places - fg_share_waiting(share), i;
	uint64_t taken_ns = 0;

	if (!free_places || !line->count)
		return free_places;
	for (i = 0; i < FG_BATCH_MAX_ENTRIES; i++)
		taken_ns += share->lines[i].waiting_ns;
	return line->count < free_places && taken_ns < FG_SHARE_NS &&
	       line->waiting_ns + cost_ns <= FG_SHARE_NS - taken_ns;
}

uint64_t fg_share_wait_ns(const struct fg_share *share, uint32_t entry)
{
	const uint64_t own_ns = share->lines[entry].waiting_ns;
	uint64_t wait_ns = own_ns;
	uint32_t i;

	/* Of each other line as much runs meanwhile, if it has as much. */
	for (i = 0; i < FG_BATCH_MAX_ENTRIES; i++)
		if (i != entry)
			wait_ns += share->lines[i].waiting_ns < own_ns ? share->lines[i].waiting_ns
								       : own_ns;
	return wait_ns;
}

void fg_share_join(struct fg_share *share, uint32_t entry, uint64_t cost_ns)
{
	struct fg_share_line *line = &share->lines[entry];

	if (!line->count) {
		uint64_t least_ns = least_had_ns(share);

		line->had_ns = least_ns == UINT64_MAX ? 0 : least_ns;
	}
	line->count++;
	line->waiting_ns += cost_ns;
}

void fg_share_leave(struct fg_share *share, uint32_t entry, uint64_t cost_ns)
{
	share->lines[entry].count--;
	share->lines[entry].waiting_ns -= cost_ns;
}

int fg_share_turn(struct fg_share *share, bool idle)
{
	uint64_t least_ns = least_had_ns(share);
	uint32_t i;

	if (idle)
		share->owed_ns = 0;
	for (i = 0; i < FG_BATCH_MAX_ENTRIES; i++)
		if (share->lines[i].count && share->lines[i].had_ns == least_ns)
			return share->owed_ns ? -1 : (int)i;
	return -1;
}

void fg_share_ran(struct fg_share *share, uint32_t entry, uint64_t ns)
{
	share->lines[entry].had_ns += ns;
	share->owed_ns += ns;
}
