#include "sched/batch.h"

#define NONE UINT16_MAX

_Static_assert(1u << (FG_BATCH_COST_POINTS - 1) == FG_BATCH_MAX_ROWS, "a point per power of two");

static uint32_t floor_log2(uint32_t rows)
{
	return 31 - (uint32_t)__builtin_clz(rows);
}

uint32_t fg_batch_cost_points(uint32_t max_rows)
{
	uint32_t log2 = floor_log2(max_rows);

	return log2 + 1 + (max_rows > 1u << log2);
}

uint32_t fg_batch_cost_rows(uint32_t max_rows, uint32_t point)
{
	return 1u << point < max_rows ? 1u << point : max_rows;
}

uint64_t fg_batch_cost_ns(const struct fg_batch_cost *cost, uint32_t rows)
{
	uint32_t point = floor_log2(rows), low = 1u << point, high;

	if (rows == low)
		return cost->ns[point];
	high = fg_batch_cost_rows(cost->max_rows, point + 1);
	return cost->ns[point] +
	       (cost->ns[point + 1] - cost->ns[point]) * (rows - low) / (high - low);
}

uint32_t fg_batch_cost_within(const struct fg_batch_cost *cost, uint64_t ns)
{
	uint32_t rows = cost->max_rows;

	while (rows > 1 && fg_batch_cost_ns(cost, rows) > ns)
		rows--;
	return rows;
}

void fg_batch_cost_cut(struct fg_batch_cost *cost, uint64_t ns)
{
	uint32_t rows = fg_batch_cost_within(cost, ns), points = fg_batch_cost_points(rows);

	cost->ns[points - 1] = fg_batch_cost_ns(cost, rows);
	cost->max_rows = rows;
}

static void link_by_entry(struct fg_batch_schedule *schedule,
			  const struct fg_batch_request *requests, uint32_t count)
{
	uint32_t entry, i;

	for (entry = 0; entry < FG_BATCH_MAX_ENTRIES; entry++)
		schedule->head[entry] = NONE;
	for (i = count; i-- > 0;) {
		schedule->next[i] = schedule->head[requests[i].entry];
		schedule->head[requests[i].entry] = (uint16_t)i;
	}
}

/*
 * Takes requests from the head of one entry's list into *batch, which starts at start_ns.
 * A late request is refused and not tried again in a later batch: that one would end later still,
 * for one batch of all rows costs no more than two that share them.
 */
static void fill(struct fg_batch_schedule *schedule, struct fg_batch *batch,
		 const struct fg_batch_request *requests, const struct fg_batch_cost *cost,
		 uint64_t start_ns)
{
	uint16_t *head = &schedule->head[batch->entry];
	uint64_t earliest_deadline_ns = UINT64_MAX;

	while (*head != NONE) {
		const struct fg_batch_request *request = &requests[*head];
		uint32_t rows = batch->rows + request->rows;
		uint64_t deadline_ns = request->deadline_ns ? request->deadline_ns : UINT64_MAX;
		uint64_t finish_ns;

		if (batch->count && rows > cost->batch_rows)
			return;
		finish_ns = start_ns + fg_batch_cost_ns(cost, rows);
		if (finish_ns > deadline_ns) {
			schedule->refused[schedule->refused_count++] =
				(struct fg_batch_refusal){*head, finish_ns};
		} else if (finish_ns > earliest_deadline_ns) {
			return;
		} else {
			schedule->order[batch->first + batch->count++] = *head;
			batch->rows = rows;
			if (deadline_ns < earliest_deadline_ns)
				earliest_deadline_ns = deadline_ns;
		}
		*head = schedule->next[*head];
		if (!batch->count)
			return; /* others may have come before this entry's next request */
	}
}

void fg_batch_form(struct fg_batch_schedule *schedule, const struct fg_batch_request *requests,
		   uint32_t count, const struct fg_batch_cost *costs, uint64_t now_ns)
{
	uint64_t start_ns = now_ns;
	uint16_t placed = 0;
	uint32_t i;

	schedule->batch_count = schedule->refused_count = 0;
	link_by_entry(schedule, requests, count);
	for (i = 0; i < count; i++) {
		uint32_t entry = requests[i].entry;
		struct fg_batch batch = {.first = placed, .entry = (uint16_t)entry};

		/* Lists are consumed from the head, in order: i is at the head or placed. */
		if (schedule->head[entry] != i)
			continue;
		fill(schedule, &batch, requests, &costs[entry], start_ns);
		if (!batch.count)
			continue;
		schedule->batches[schedule->batch_count++] = batch;
		start_ns += fg_batch_cost_ns(&costs[entry], batch.rows);
		placed += batch.count;
	}
}
