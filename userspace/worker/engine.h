/*
 * engine.h: turns requests into replies: parse, check, batch, run, answer in place.
 *
 * Holds the models of one generation, for one worker, one thread. Everything that can fail or
 * take long (memory, page faults, golden rows, measuring) is in fg_engine_open; serving makes no
 * allocation and no syscall but clock_gettime (vDSO), and cannot fail.
 *
 * What other models' requests would wait for too long does not run where it comes: a request that
 * takes longer than `long_ns` is kept, waits in its model's line (sched/share.h), and is run in
 * pieces by fg_engine_piece, between looks at the rings. What a line has no room for is refused.
 */
#ifndef FG_WORKER_ENGINE_H
#define FG_WORKER_ENGINE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include "models/error.h"
#include "models/plan.h"
#include "sched/batch.h"
#include "sched/rollout.h"
#include "sched/share.h"
#include "userspace/protocol/wire.h"
#include "userspace/shared/state.h"
#include "userspace/worker/message.h"
#include "userspace/worker/watch.h"

#define FG_ENGINE_MAX_MESSAGES FG_BATCH_MAX_REQUESTS
#define FG_ENGINE_TEXT_BYTES   64   /* of an error reply, at most */
#define FG_ENGINE_TEXTS_PER_S  1000 /* of refusals that say why; others say their status alone */

/* What one batch may need of inputs, outputs and scratch: wide models get smaller batches (but
 * always one row), so that a worker's own memory stays below 16 MiB. */
#define FG_ENGINE_MEMORY_BYTES (8u << 20)

/* Warm-up requests of all models together are run for that long at most; what is left is not. */
#define FG_ENGINE_WARM_NS 2000000000ull

/* Measuring all models takes about that long; longer batches are then reckoned by their rows. */
#define FG_ENGINE_MEASURE_NS 6000000000ull
/* And so long golden rows, of which the packer has run all: models that come after are not run. */
#define FG_ENGINE_GOLDEN_NS 20000000000ull

/* How long others wait for a batch or a piece, if a row does not take longer: where there is one
 * model, and where there are several. */
#define FG_ENGINE_PIECE_ALONE_NS 20000000ull
#define FG_ENGINE_PIECE_NS	 2000000ull
/* A request that takes longer than this part of it waits in a line. */
#define FG_ENGINE_LONG_PART 8
/* No request may take longer, unless it is one row. */
#define FG_ENGINE_REQUEST_NS 1000000000ull

/* A plan whose row takes that long shows between its steps that it goes on. */
#define FG_ENGINE_BEAT_NS 1000000ull

/* One model version. Its largest batch is costs[same index].max_rows. */
struct fg_engine_model {
	uint32_t name; /* fg_wire_model */
	uint32_t is_default;
	uint64_t version;
	uint32_t label_count;
	uint64_t labels[FG_RULES_MAX_LABELS]; /* fg_wire_label */
	struct fg_plan plan;
};

/* A request between parse and reply. */
struct fg_engine_pending {
	struct fg_message *message;
	struct fg_wire_header header; /* copied once: the datagram is overwritten by the reply */
	uint32_t entry;
	bool refused; /* of a batch that ran: the model refused a row of it */
};

/* A request that waits in a line, in a place of its own. */
struct fg_engine_waiting {
	struct fg_message message; /* a copy; the transport's tag is its own to change */
	struct fg_engine_pending pending;
	uint64_t deadline_ns, cost_ns;
	uint64_t start_ns;   /* of the first piece */
	uint32_t compute_ns; /* of all pieces */
	uint32_t rows_done;
	uint16_t next; /* place, in the line */
};

struct fg_engine_line {
	uint16_t first, last; /* places; where share.lines[] says that there are some */
	float *part;	      /* (max_rows, out_cols) of a request that is done in part */
};

struct fg_engine {
	uint32_t generation;
	uint32_t model_count;
	struct fg_engine_model models[FG_ROLLOUT_MAX_MODELS];
	struct fg_batch_cost costs[FG_ROLLOUT_MAX_MODELS]; /* measured; [entry] */
	/* The caller's word, set after opening, on what the version takes that a canary's is
	 * compared with; model 0: there is no canary here. See watch.h. */
	struct fg_state_offer before;
	struct fg_stats *stats;
	struct fg_watch *watch; /* the caller's, set after opening; NULL: watches nothing */
	/* Likewise: stored after every batch, and inside long ones; NULL: nobody looks. */
	_Atomic uint64_t *heartbeat_ns;
	void *arena;
	size_t arena_bytes;
	void *parts; /* of lines[] */
	size_t parts_bytes;
	float *in;     /* (rows, in_cols) of the batch that runs */
	float *out;    /* (rows, out_cols) */
	void *scratch; /* of the plan that runs */
	struct fg_plan_refusal refusals[FG_BATCH_MAX_ROWS]; /* of the batch that ran last */
	uint32_t refused_rows;				    /* so many of them say so */

	/* Requests that take longer than long_ns, and where they wait. */
	uint64_t long_ns;
	struct fg_share share;
	bool others_ran; /* a batch has, since the last piece was asked for */
	struct fg_engine_line lines[FG_ROLLOUT_MAX_MODELS]; /* [entry] */
	struct fg_engine_waiting waiting[FG_SHARE_PLACES];  /* [place] */
	uint16_t free_places[FG_SHARE_PLACES];
	uint32_t free_count;

	/* Of the messages being served: */
	uint32_t pending_count, next_batch;
	uint64_t now_ns;     /* as last looked at */
	uint64_t texts_ns;   /* when the present second of refusals began ... */
	uint32_t texts_left; /* ... and how many of them may still be explained */
	struct fg_engine_pending pending[FG_ENGINE_MAX_MESSAGES];
	struct fg_batch_request requests[FG_ENGINE_MAX_MESSAGES]; /* [pending] */
	struct fg_batch_schedule schedule;
	const struct fg_batch *watched; /* ran, and the watch has not seen it yet; NULL: none */
	uint32_t watched_ns;		/* its run time */
	uint32_t done_count;		/* messages finished by the last begin or step */
	struct fg_message *done[FG_ENGINE_MAX_MESSAGES];
	uint32_t kept_count; /* places of messages that the last begin kept */
	uint16_t kept[FG_ENGINE_MAX_MESSAGES];
};

/*
 * Gets ready to serve entries[i] with plans[i] (entry_count of each, 1 .. FG_ROLLOUT_MAX_MODELS)
 * in batches of up to max_batch rows (1 .. FG_BATCH_MAX_ROWS): allocates, touches all pages, checks
 * every plan's golden rows, runs its warm-up requests (models/warmup.h; FG_ENGINE_WARM_NS), runs
 * every plan at 1, 2, 4 .. rows and measures. Takes milliseconds, seconds for big models. Plans are
 * copied, their bytes must stay mapped; stats stay the caller's. -EINVAL: two models with one wire
 * name, a version twice, two defaults, two versions with one label, a row that no datagram can
 * carry; -EILSEQ: golden rows differ; -ENOMEM. *error names the model.
 * At most FG_SHARE_PLACES messages are kept; the caller may set share.places to less.
 */
int fg_engine_open(struct fg_engine *engine, const struct fg_rollout_entry *entries,
		   uint32_t entry_count, const struct fg_plan *plans, uint32_t generation,
		   uint32_t max_batch, struct fg_stats *stats, struct fg_error *error);
/* What its versions take: offers[FG_ROLLOUT_MAX_MODELS], [entry]. */
void fg_engine_offers(const struct fg_engine *engine, struct fg_state_offer *offers);
/* Frees all. Safe on a zeroed struct. */
void fg_engine_close(struct fg_engine *engine);

/*
 * Answers `count` (0 .. FG_ENGINE_MAX_MESSAGES) messages in place, in steps, so that finished
 * replies can be sent before the next batch runs; now_ns: CLOCK_MONOTONIC. Begin parses, forms
 * batches and refuses; each step runs one batch. After begin, and after each step that returned
 * true, done[0 .. done_count - 1] are the messages that it finished: each with its reply's
 * length, or 0 when it was no request of ours. Step returns false when nothing is left, and must be
 * called until then. `messages` must stay where they are in between, and keep their arrived_ns:
 * what is watched of a batch is looked at when its replies are sent, in the next step.
 *
 * After begin, kept[0 .. kept_count - 1] are the places of messages that wait: fg_engine_kept is
 * the engine's copy, in which the transport may change bytes and tag when it moves them. They are
 * among done[] after the piece that finishes them, until the next begin.
 */
void fg_engine_begin(struct fg_engine *engine, struct fg_message *messages, uint32_t count,
		     uint64_t now_ns);
bool fg_engine_step(struct fg_engine *engine);
static inline struct fg_message *fg_engine_kept(struct fg_engine *engine, uint16_t place)
{
	return &engine->waiting[place].message;
}

/*
 * Once in every loop, after the last step: runs a piece of what waits, if it is its turn; done[] is
 * what it finished or refused. False: nobody waits, or batches that ran since the last call are
 * owed more time.
 */
bool fg_engine_piece(struct fg_engine *engine);

/* For fg_engine_open: nobody waits. */
void fg_engine_open_lines(struct fg_engine *engine);

#endif
