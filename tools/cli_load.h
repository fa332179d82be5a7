/*
 * cli_load.h: the open-loop load generator, its samples and its report.
 *
 * Request i is due at start + i / rate, whatever the service does. Its round trip is measured
 * from that intended time, so a stall of the service, or of this sender, is seen by every request
 * that was due meanwhile (Tene, "How NOT to Measure Latency": coordinated omission).
 *
 * Which flow and which rows request i belongs to follows from i alone, so a sample keeps only
 * what was measured, and which connection a request took after all (TCP).
 */
#ifndef FG_TOOLS_CLI_LOAD_H
#define FG_TOOLS_CLI_LOAD_H

#include <jansson.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include "models/error.h"
#include "tools/cli_matrix.h"
#include "tools/flipgate.h"

#define FG_LOAD_MAX_EXPECTS  16
#define FG_LOAD_MAX_VERSIONS 64
#define FG_LOAD_MAX_SAMPLES  100000000u
#define FG_LOAD_MAX_FLOWS    1000000u

/* What one version must answer: (rows of the input, columns of the output). */
struct fg_load_expect {
	uint64_t version;
	struct fg_matrix outputs;
};

struct fg_load_config {
	const char *address, *model;
	uint64_t version;	 /* wanted; 0: the live one */
	const char *label;	 /* instead of a version; NULL: none */
	double rate;		 /* requests per second */
	uint64_t duration_ns;	 /* measured */
	uint64_t warmup_ns;	 /* before that: sent and checked, but not in times and counts */
	uint64_t timeout_ns;	 /* after its sending a request without a reply is lost */
	uint64_t flip_window_ns; /* around a flip, half before and half behind */
	uint32_t flows;		 /* at any time */
	uint32_t flow_requests;	 /* a flow ends after so many, and a new one begins; 0: never */
	/* Sockets, over TCP connections. 0: one per flow; else flows are affinity keys over so
	 * many. */
	uint32_t sockets;
	uint64_t first_key; /* of the affinity keys */
	uint32_t rows_per_request;
	uint32_t deadline_us; /* 0: none */
	bool sleep;	      /* sleep between requests instead of spinning */
	struct fg_matrix input;
	struct fg_load_expect expects[FG_LOAD_MAX_EXPECTS];
	uint32_t expect_count;
	double tolerance;	     /* largest |output - expected| that is right */
	struct fg_matrix labels;     /* (rows, 1); data is NULL when there are none */
	const char *labels_output;   /* the output that they are held against; NULL: the obvious */
	volatile sig_atomic_t *stop; /* not 0: send no more; may be NULL */
};

/* Zero: not sent. */
struct fg_load_sample {
	uint64_t rtt_ns; /* from the intended time; 0: no reply in time */
	uint32_t lag_ns; /* sent so long after the intended time; saturates */
	uint32_t generation;
	uint32_t connection; /* TCP: that it was sent on last, or is to be sent on */
	uint8_t version;     /* index into fg_load.versions; only of a reply with status OK */
	uint8_t status;	     /* enum fg_status */
	bool answered : 1;   /* also too late */
	bool is_sent : 1;    /* TCP: the kernel has it whole */
	bool retried : 1;    /* TCP: its connection was lost, so it was sent once more */
};

struct fg_load_version {
	uint64_t version;
	const struct fg_matrix *expected; /* NULL: none given */
	uint64_t labelled, correct;
};

struct fg_load {
	const struct fg_load_config *config;
	bool is_stream; /* TCP */
	struct fg_load_sample *samples;
	uint32_t room;		       /* for samples */
	uint32_t count;		       /* requests to send: room, or fewer after *config->stop */
	uint32_t sent;		       /* samples [0, sent) are filled */
	uint32_t out_cols;	       /* of the model, as it answered before the start */
	struct fg_client_port classes; /* the output that labels are held against, if there are */
	uint64_t start_ns;	       /* CLOCK_MONOTONIC */
	struct fg_load_version versions[FG_LOAD_MAX_VERSIONS];
	uint32_t version_count;
	uint64_t first_sent_ns, last_sent_ns;
	uint64_t late;	     /* replies after the time-out: their requests are lost */
	uint64_t duplicates; /* second replies to one request */
	uint64_t strays;     /* messages that answer no request of ours */
	uint64_t socket_errors;
	int last_socket_error; /* errno */
	/* TCP. */
	uint32_t connections;	  /* made, in the order of their numbers, from 0 */
	uint64_t resets;	  /* connections that the other side reset */
	uint64_t ends;		  /* that it ended before it had answered all, or unannounced */
	uint64_t leaving;	  /* that it said it would end */
	uint64_t reconnects;	  /* made in the place of one that went so */
	uint64_t retried;	  /* requests sent once more, because their connection was lost */
	uint64_t checked_outputs; /* rows held against what was expected */
	uint64_t wrong_outputs;
	double max_abs_error;
};

/*
 * Asks once, then sends and receives until all are answered or lost. 0, and *load is to be freed
 * by fg_load_free; or -errno with *error: what fg_client_infer says of the first question, -EMFILE
 * when it would need more sockets than the process may have, -EINVAL for files whose shapes do
 * not fit the model.
 */
int fg_load_run(struct fg_load *load, const struct fg_load_config *config, struct fg_error *error);

void fg_load_free(struct fg_load *load);

/* When request i is due, after start_ns; its flow, from 0; its first row of the input. */
uint64_t fg_load_due_ns(const struct fg_load *load, uint32_t i);
uint32_t fg_load_flow(const struct fg_load_config *config, uint32_t i);
size_t fg_load_row(const struct fg_load_config *config, uint32_t i);

/* The flow that request i really belonged to. Over TCP that is its connection's number: there may
 * be more of them than planned. */
uint32_t fg_load_flow_of(const struct fg_load *load, uint32_t i);

/* Everything that flipgate(1) names under LOAD REPORT, derived from the samples. The caller frees
 * it. */
json_t *fg_load_report(const struct fg_load *load);

/* The report for people. */
void fg_load_print(const json_t *report, FILE *out);

/* All samples as CSV with a line of names. 0 or -errno. */
int fg_load_trace(const struct fg_load *load, const char *path);

/* Takes the reply to request i, whose payload is aligned for floats: what it says goes
 * into the sample, its rows are held against what is expected of its version. */
void fg_load_take(struct fg_load *load, uint32_t i, const struct fg_wire_header *header,
		  const void *payload);

#endif
