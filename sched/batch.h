/*
 * batch.h: which requests run together, and which can not be answered in time: pure.
 *
 * There is no batching timer: what is there when the worker looks is what is grouped. The greedy
 * order is that of SLO-aware servers (Gujarati et al., "Serving DNNs like Clockwork", OSDI 2020,
 * section 4): run times are known beforehand, so lateness is known before any work is done.
 */
#ifndef FG_SCHED_BATCH_H
#define FG_SCHED_BATCH_H

#include <stdint.h>

#define FG_BATCH_MAX_REQUESTS 256  /* of one schedule */
#define FG_BATCH_MAX_ENTRIES  32   /* model versions */
#define FG_BATCH_MAX_ROWS     1024 /* of one batch */
#define FG_BATCH_COST_POINTS  11   /* 1, 2, 4 .. 1024 rows */

/* Measured run time of one model version: piecewise linear through the points, which stand at
 * fg_batch_cost_rows(): 1, 2, 4 .. rows, the last at max_rows. */
struct fg_batch_cost {
	uint32_t max_rows;		   /* of one request, 1 .. FG_BATCH_MAX_ROWS */
	uint32_t batch_rows;		   /* of several requests together, 1 .. max_rows */
	uint64_t ns[FG_BATCH_COST_POINTS]; /* does not decrease */
};

/* How many points a cost has (1 .. FG_BATCH_COST_POINTS), and the rows at point 0 .. points - 1. */
uint32_t fg_batch_cost_points(uint32_t max_rows);
uint32_t fg_batch_cost_rows(uint32_t max_rows, uint32_t point);
/* Run time of a batch of 1 .. max_rows rows. */
uint64_t fg_batch_cost_ns(const struct fg_batch_cost *cost, uint32_t rows);
/* The most rows, up to max_rows, that take no longer than `ns`; at least 1. */
uint32_t fg_batch_cost_within(const struct fg_batch_cost *cost, uint64_t ns);
/* Makes max_rows less, so that no request takes longer than `ns` but one of a single row. */
void fg_batch_cost_cut(struct fg_batch_cost *cost, uint64_t ns);

struct fg_batch_request {
	uint32_t entry;	      /* index of its model version, < FG_BATCH_MAX_ENTRIES */
	uint32_t rows;	      /* 1 .. max_rows of that entry */
	uint64_t deadline_ns; /* to be computed by then, same clock as now_ns; 0: no deadline */
};

/* One run of one model version: requests order[first .. first + count - 1], in arrival order. */
struct fg_batch {
	uint16_t first, count;
	uint16_t entry;
	uint32_t rows; /* their sum, <= batch_rows where count > 1, <= max_rows */
};

struct fg_batch_refusal {
	uint32_t request;   /* index */
	uint64_t finish_ns; /* when its batch would have ended: after its deadline */
};

struct fg_batch_schedule {
	uint32_t batch_count, refused_count;
	struct fg_batch batches[FG_BATCH_MAX_REQUESTS]; /* in the order to run them */
	uint16_t order[FG_BATCH_MAX_REQUESTS];		/* request indices, batch after batch */
	struct fg_batch_refusal refused[FG_BATCH_MAX_REQUESTS];
	/* One list per entry of requests not yet placed, in arrival order; empty on return. */
	uint16_t head[FG_BATCH_MAX_ENTRIES], next[FG_BATCH_MAX_REQUESTS];
};

/*
 * Makes *schedule of `count` (0 .. FG_BATCH_MAX_REQUESTS) requests in arrival order; costs[] by
 * entry. A batch begins with the earliest request not yet placed and takes the following requests
 * of the same entry while they fit in batch_rows and make no member late. A request is refused if
 * its batch, run after all batches before it from now_ns on, would end after its deadline. Every
 * request is in exactly one batch or refused. O(count).
 */
void fg_batch_form(struct fg_batch_schedule *schedule, const struct fg_batch_request *requests,
		   uint32_t count, const struct fg_batch_cost *costs, uint64_t now_ns);

#endif
