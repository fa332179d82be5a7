/*
 * cli_load_run.h: what the two ways to send a load, cli_load_udp.c and cli_load_tcp.c, have in
 * common: which request is due, what it says, and what a reply means.
 */
#ifndef FG_TOOLS_CLI_LOAD_RUN_H
#define FG_TOOLS_CLI_LOAD_RUN_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>
#include "models/error.h"
#include "tools/cli_load.h"
#include "tools/client_address.h"
#include "userspace/protocol/wire.h"

struct fg_load_run {
	struct fg_load *load;
	const struct fg_load_config *config;
	struct fg_client_address address;
	struct fg_wire_header header; /* of every request */
	size_t message_bytes;	      /* of every request: header and payload */
	size_t reply_bytes;	      /* of an ok reply of as many columns as the model has now */
	uint64_t run_id;	      /* upper bits of every request id */
	uint32_t sockets;	      /* that may be open at once */
	uint32_t answered;	      /* requests */
};

/* The parts of a request's payload: from its first row on, and round the end of the input. */
#define FG_LOAD_ROW_PARTS 2

/* Writes the header of request i to *header, and says where its rows lie. */
void fg_load_request(const struct fg_load_run *run, uint32_t i, struct fg_wire_header *header,
		     struct iovec parts[FG_LOAD_ROW_PARTS]);

/* Notes that request i left at `now`, be it only to wait until its connection takes it. */
void fg_load_sent(struct fg_load_run *run, uint32_t i, uint64_t now);

/* Is it a reply to a request of this run that was sent? Then *i is its number. */
bool fg_load_is_reply(const struct fg_load_run *run, const void *message, size_t length,
		      struct fg_wire_header *header, uint32_t *i);

/*
 * Takes the reply to request i, come at `now`, into the load: its payload, aligned for floats, is
 * held against what is expected. False for a second one, which is only counted.
 */
bool fg_load_answered(struct fg_load_run *run, uint32_t i, const struct fg_wire_header *header,
		      const void *payload, uint64_t now);

/* Counts an error of a socket. `error` is an errno. */
void fg_load_note_error(struct fg_load *load, int error);

/* How requests leave and replies come. */
struct fg_load_transport {
	void *state; /* the first argument of both */
	/* Sends requests that are due, from load->sent on, which it moves. Or -errno: the end. */
	int (*send_due)(void *state, uint64_t now);
	/* Takes what has come; sleeps at most until `until_ns` when the configuration says so. */
	void (*receive)(void *state, uint64_t now, uint64_t until_ns);
};

/* Starts the schedule, and sends and receives until all is answered or lost. 0 or -errno. */
int fg_load_loop(struct fg_load_run *run, const struct fg_load_transport *transport,
		 struct fg_error *error);

/* Opens the sockets, loops, closes them. 0 or -errno. */
int fg_load_udp(struct fg_load_run *run, struct fg_error *error);
int fg_load_tcp(struct fg_load_run *run, struct fg_error *error);

#endif
