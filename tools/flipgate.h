/*
 * flipgate.h: ask a flipgate service for answers (libflipgate).
 *
 *	struct fg_client *client;
 *	struct fg_client_error error;
 *	float out[10];
 *	struct fg_client_request request = {
 *		.model = "digits",
 *		.dtype = FG_CLIENT_F32,
 *		.rows = 1,
 *		.cols = 784,
 *		.data = pixels,
 *	};
 *	struct fg_client_reply reply;
 *
 *	if (fg_client_open(&client, "10.0.0.1:9000", NULL, &error) ||
 *	    fg_client_infer(client, &request, out, 10, &reply, &error))
 *		errx(1, "%s", error.text);
 *	printf("version %llu\n", (unsigned long long)reply.version);
 *	fg_client_close(client);
 *
 * Build: cc app.c $(pkg-config --cflags --libs flipgate).
 *
 * A handle belongs to one thread at a time; different handles need no locking. Nothing here
 * writes to stdout, installs a signal handler or calls exit. The protocol is docs/protocol.md.
 */
#ifndef FLIPGATE_H
#define FLIPGATE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define FG_CLIENT_API	      __attribute__((visibility("default")))

#define FG_CLIENT_TIMEOUT_MS  1000 /* when options say 0 */
#define FG_CLIENT_MAX_RETRIES 10

/* Element types of the rows a client sends. Answers are always f32. */
enum fg_client_dtype {
	FG_CLIENT_F32 = 1,
	FG_CLIENT_F64 = 2,
	FG_CLIENT_BF16 = 3,
	FG_CLIENT_F16 = 4,
	FG_CLIENT_U8 = 5,
	FG_CLIENT_I8 = 6,
};

/* What the server said; fg_client_status_name and _help give words for it. */
enum fg_client_status {
	FG_CLIENT_OK = 0,
	FG_CLIENT_BAD_REQUEST = 1,
	FG_CLIENT_UNKNOWN_MODEL = 2,
	FG_CLIENT_UNKNOWN_VERSION = 3,
	FG_CLIENT_BAD_SHAPE = 4,
	FG_CLIENT_BAD_DTYPE = 5,
	FG_CLIENT_TOO_MANY_ROWS = 6,
	FG_CLIENT_DEADLINE = 7,
	FG_CLIENT_REPLY_TOO_LONG = 8,
	FG_CLIENT_OVERLOADED = 9,
	FG_CLIENT_INTERNAL = 10,
	FG_CLIENT_BAD_VALUE = 11,
};

/* One line that says what was wrong and what to do. Written only when a call fails; may be NULL
 * wherever it is taken. */
struct fg_client_error {
	char text[256];
};

/* How a handle waits. All zero: the defaults. */
struct fg_client_options {
	/* For a whole fg_client_infer, connecting and retries included. 0: FG_CLIENT_TIMEOUT_MS. */
	uint32_t timeout_ms;
	/*
	 * How often a request may be sent again, 0 .. FG_CLIENT_MAX_RETRIES. The waits double, and
	 * together they are timeout_ms: with 2 retries 1/7, 2/7 and 4/7 of it. A model has no side
	 * effects, so asking again is always safe.
	 */
	uint32_t retries;
	/* Not 0: spin instead of sleeping while waiting. Burns a CPU, saves a wake-up (tens of
	 * microseconds, more than the whole way through flipgate). */
	uint32_t spin;
};

struct fg_client;

/*
 * Opens a handle for "host:port", "10.0.0.1:9000" or "[::1]:9000" (UDP), or for the same behind
 * "tcp://" (TCP). `options` may be NULL. Returns 0 with *client for fg_client_close, or -EINVAL
 * (address or options), -ENOENT (no such host), -ENOMEM, or the errno of socket or connect. Sends
 * nothing, and connects by TCP only when it has something to send: a service that is not there is
 * noticed by the first request.
 */
FG_CLIENT_API int fg_client_open(struct fg_client **client, const char *address,
				 const struct fg_client_options *options,
				 struct fg_client_error *error);

/* Closes the handle and frees it. NULL is allowed. */
FG_CLIENT_API void fg_client_close(struct fg_client *client);

/* All zero except model, dtype, rows, cols and data is a plain request. */
struct fg_client_request {
	const char *model;    /* name, NUL-terminated */
	uint64_t version;     /* wanted; 0: the one that is live, or `label` */
	uint64_t affinity;    /* requests of one key go to one worker and version; 0: no key */
	uint32_t dtype;	      /* enum fg_client_dtype */
	uint32_t rows, cols;  /* shape of data, row-major, both >= 1 */
	const void *data;     /* rows * cols elements, any alignment, little-endian */
	uint32_t deadline_us; /* the server refuses when it cannot answer in this; 0: none */
	const char *label;    /* "stable" and the like, instead of a version; NULL: none */
};

/* Who answered, and how long it took. */
struct fg_client_reply {
	uint32_t status;	/* enum fg_client_status */
	uint32_t generation;	/* of the worker that answered */
	uint64_t version;	/* that computed the answer */
	uint32_t rows, cols;	/* shape of the answer; 0 unless status is OK */
	uint32_t queued_ns;	/* waited at the server; stays at its maximum if longer */
	uint32_t compute_ns;	/* ran; likewise */
	uint64_t round_trip_ns; /* from the sending that was answered to its answer */
	uint32_t attempts;	/* how often this request was sent */
	uint32_t ignored;	/* replies to earlier requests, and strays, seen meanwhile */
};

/*
 * Sends the rows, waits, and copies the answer, f32 (reply->rows, reply->cols), to `out`, which
 * has room for `out_count` floats. `reply` may be NULL. When an answer would be longer than the
 * server may send (docs/protocol.md, "Padding"), the request is padded as needed.
 *
 * TCP: the connection is kept for the next request, unless the server says that it will go, or did
 * not answer in time (each retry after a silence has a connection of its own). A connection that
 * ends before its answer is worth one more sending at once, on a new one, also without `retries`:
 * a model has no side effects, and an idle connection may have ended long ago.
 *
 * Returns 0, or
 *   -EINVAL     a request that cannot be sent: shape, dtype, data, or a version and a label
 *   -EMSGSIZE   request or answer do not fit one message of 65,507 bytes: send fewer rows
 *   -ENOBUFS    the answer has more than out_count floats; reply->rows, cols say how many
 *   -EREMOTEIO  the server refused; reply->status says why, and error the server's own words.
 *               OVERLOADED is tried again while retries and time are left
 *   -ETIMEDOUT  no answer
 *   -ECONNRESET TCP: the connection ended before the answer, and so did the one after it
 *   -EPROTO     TCP: what came is no answer of a flipgate service
 *   -ECONNREFUSED, -EHOSTUNREACH, ...  the network says that nobody is there
 */
FG_CLIENT_API int fg_client_infer(struct fg_client *client, const struct fg_client_request *request,
				  float *out, size_t out_count, struct fg_client_reply *reply,
				  struct fg_client_error *error);

/* An input or output of a model: columns first .. first + cols - 1 of its rows. */
struct fg_client_port {
	char name[64];
	uint32_t is_output;
	uint32_t first, cols;
	uint32_t is_integer; /* whole numbers in the model file: ids, classes */
};

/*
 * Asks what the inputs and outputs are of the model, version or label, and flow (affinity) that
 * `request` names; its other fields do not count. *port_count is how many there are; the first
 * `port_room` of them are in `ports`, inputs before outputs. `reply` (may be NULL) says which
 * version answered. Returns as fg_client_infer; -ENOBUFS: there are more than port_room.
 */
FG_CLIENT_API int fg_client_describe(struct fg_client *client,
				     const struct fg_client_request *request,
				     struct fg_client_port *ports, size_t port_room,
				     size_t *port_count, struct fg_client_reply *reply,
				     struct fg_client_error *error);

/* "ok" and the like, "?" for unknown values; and what it means. Static strings. */
FG_CLIENT_API const char *fg_client_status_name(uint32_t status);
FG_CLIENT_API const char *fg_client_status_help(uint32_t status);

/* "0.1.0". Static string. */
FG_CLIENT_API const char *fg_client_version(void);

#ifdef __cplusplus
}
#endif

#endif
