#include "tools/flipgate.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>
#include "tools/client_address.h"
#include "tools/client_stream.h"
#include "tools/client_wait.h"
#include "userspace/protocol/wire.h"

_Static_assert((int)FG_CLIENT_F32 == FG_DTYPE_F32 && (int)FG_CLIENT_I8 == FG_DTYPE_I8, "dtypes");
_Static_assert((int)FG_CLIENT_BAD_VALUE == FG_STATUS_BAD_VALUE, "statuses");

#define MS_NS		  1000000ull
#define DESCRIPTION_BYTES 32768 /* of 256 ports with the longest names */
#define MOST_FLOATS	  ((FG_WIRE_MAX_DATAGRAM - FG_WIRE_HEADER_BYTES) / sizeof(float))

/* The low byte of a request id counts the sendings of one call, the rest counts calls. */
#define ID_TRY_BITS 8

/* Of one call. One more: sent again with padding (UDP), or because the connection was lost (TCP).
 */
#define MAX_SENDINGS (1 + FG_CLIENT_MAX_RETRIES + 1)
_Static_assert(MAX_SENDINGS <= 1 << ID_TRY_BITS, "each sending has an id of its own");

struct fg_client {
	struct fg_client_options options;
	struct fg_client_address address;
	char name[256];			/* the address as it was given */
	int fd;				/* UDP; TCP: -1 */
	struct fg_client_stream stream; /* TCP: open from the first request on */
	uint64_t serial; /* of the last call; begins at random, so that an id is hard to forge */
	uint32_t known_model, known_cols; /* columns of the last answer, to pad the next request */
	unsigned char send[FG_WIRE_MAX_DATAGRAM];
	unsigned char receive[FG_WIRE_MAX_DATAGRAM];
};

/* One call of fg_client_infer or fg_client_describe. */
struct call {
	struct fg_client *client;
	const struct fg_client_request *request;
	bool describes; /* sends no rows; its answer is a text, and it has room for all of it */
	float *out;
	size_t out_count;
	struct fg_client_reply *reply;
	struct fg_client_error *error;
	size_t length; /* of the message: header, payload, padding */
	size_t payload;
	uint64_t until_ns;
	uint64_t sent_ns[MAX_SENDINGS];
	bool was_lost;		     /* the connection */
	bool was_padded;	     /* for as much as the caller has room for */
	const unsigned char *answer; /* the whole message */
};

const char *fg_client_status_name(uint32_t status)
{
	return fg_status_name(status > UINT8_MAX ? UINT8_MAX : (uint8_t)status);
}

const char *fg_client_status_help(uint32_t status)
{
	return fg_status_help(status > UINT8_MAX ? UINT8_MAX : (uint8_t)status);
}

const char *fg_client_version(void)
{
	return FG_VERSION;
}

int fg_client_open(struct fg_client **result, const char *address,
		   const struct fg_client_options *options, struct fg_client_error *error)
{
	struct fg_client *client = calloc(1, sizeof(*client));
	int code;

	if (!client)
		return fg_client_fail(error, -ENOMEM, "out of memory");
	client->fd = client->stream.fd = -1;
	if (options)
		client->options = *options;
	if (client->options.timeout_ms == 0)
		client->options.timeout_ms = FG_CLIENT_TIMEOUT_MS;
	if (client->options.retries > FG_CLIENT_MAX_RETRIES) {
		code = fg_client_fail(error, -EINVAL, "retries %u: at most %d",
				      client->options.retries, FG_CLIENT_MAX_RETRIES);
		goto fail;
	}
	code = fg_client_resolve(&client->address, address, error);
	if (code)
		goto fail;
	strncpy(client->name, address, sizeof(client->name) - 1);
	if (!client->address.is_stream) {
		client->fd = code = fg_client_connect(&client->address);
		if (code < 0) {
			fg_client_fail(error, code, "connect to %s: %s", address, strerror(-code));
			goto fail;
		}
	}
	if (getrandom(&client->serial, sizeof(client->serial), 0) < 0)
		client->serial = fg_client_now_ns();
	*result = client;
	return 0;
fail:
	fg_client_close(client);
	return code;
}

void fg_client_close(struct fg_client *client)
{
	if (!client)
		return;
	if (client->fd >= 0)
		close(client->fd);
	fg_client_stream_close(&client->stream);
	free(client);
}

/*
 * A reply of rows * cols floats is allowed when the request's datagram is no shorter than those
 * floats: reply = header + floats <= datagram + FG_WIRE_AMPLIFICATION, and header is that long.
 */
_Static_assert(FG_WIRE_HEADER_BYTES == FG_WIRE_AMPLIFICATION, "padding rule");

/* Lengthens the datagram so that `floats` may come back. False when it would not fit. */
static bool pad_for(struct call *call, uint64_t floats)
{
	uint64_t wanted = floats * sizeof(float);

	if (wanted > FG_WIRE_MAX_DATAGRAM - FG_WIRE_HEADER_BYTES)
		return false;
	if (wanted > call->length) {
		memset(call->client->send + call->length, 0, wanted - call->length);
		call->length = wanted;
	}
	return true;
}

/* What a request says beside its rows, before the message; false: it names two versions. */
static bool name_version(const struct fg_client_request *request, struct fg_wire_header *header)
{
	header->affinity = request->affinity;
	header->model_version = request->label ? fg_wire_label(request->label) : request->version;
	header->flags |= request->label ? FG_WIRE_LABEL : 0;
	return !(request->label && request->version);
}

static int build_question(struct call *call)
{
	struct fg_wire_header header = {.magic = FG_WIRE_MAGIC,
					.version = FG_WIRE_VERSION,
					.type = FG_WIRE_REQUEST,
					.flags = FG_WIRE_DESCRIBE};

	if (!call->request->model)
		return fg_client_fail(call->error, -EINVAL, "a request needs a model");
	if (!name_version(call->request, &header))
		return fg_client_fail(call->error, -EINVAL,
				      "a request names a version or a label, not both");
	header.model = fg_wire_model(call->request->model);
	call->length = sizeof(header);
	memcpy(call->client->send, &header, sizeof(header));
	return 0;
}

static int build(struct call *call)
{
	const struct fg_client_request *request = call->request;
	struct fg_client *client = call->client;
	struct fg_wire_header header;
	int64_t payload;

	if (!request->model || !request->data || request->dtype > UINT8_MAX)
		return fg_client_fail(call->error, -EINVAL,
				      "a request needs a model, data and a dtype");
	payload = fg_wire_request(&header, fg_wire_model(request->model), (uint8_t)request->dtype,
				  request->rows, request->cols);
	if (payload == -EINVAL)
		return fg_client_fail(call->error, -EINVAL,
				      "cannot send %u rows of %u columns of dtype %u",
				      request->rows, request->cols, request->dtype);
	call->payload = (size_t)payload;
	call->length = sizeof(header) + call->payload;
	if (payload < 0 || (header.model == client->known_model && !client->address.is_stream &&
			    !pad_for(call, (uint64_t)request->rows * client->known_cols)))
		return fg_client_fail(call->error, -EMSGSIZE,
				      "%u rows of %u columns, or their answer, do not fit one "
				      "message of %d bytes: send fewer rows",
				      request->rows, request->cols, FG_WIRE_MAX_DATAGRAM);
	if (!name_version(request, &header))
		return fg_client_fail(call->error, -EINVAL,
				      "a request names a version or a label, not both");
	header.deadline_us = request->deadline_us;
	memcpy(client->send, &header, sizeof(header));
	memcpy(client->send + sizeof(header), request->data, call->payload);
	return 0;
}

/* Gives the message the id of its next sending, which is now. -ETIMEDOUT: that were too many. */
static int stamp(struct call *call)
{
	uint32_t attempt = call->reply->attempts;
	uint64_t id = call->client->serial << ID_TRY_BITS | attempt;

	if (attempt == MAX_SENDINGS)
		return -ETIMEDOUT;
	call->reply->attempts++;
	memcpy(call->client->send + offsetof(struct fg_wire_header, request_id), &id, sizeof(id));
	call->sent_ns[attempt] = fg_client_now_ns();
	return 0;
}

static int send_once(struct call *call)
{
	struct fg_client *client = call->client;
	ssize_t sent;
	int code = stamp(call);

	if (code)
		return code;
	do {
		/* An error that an earlier datagram met (ICMP) is reported, and cleared, here. */
		sent = send(client->fd, client->send, call->length, MSG_NOSIGNAL);
		if (sent < 0 && errno == ECONNREFUSED)
			sent = send(client->fd, client->send, call->length, MSG_NOSIGNAL);
	} while (sent < 0 && errno == EINTR);
	return sent < 0 ? -errno : 0;
}

/*
 * Is it an answer to this call? An output counts whichever of the call's sendings it answers. A
 * status that makes us send again counts only for the last of them: once is enough.
 */
static bool is_answer(const struct call *call, const struct fg_wire_header *header)
{
	uint64_t attempt = header->request_id & ((1 << ID_TRY_BITS) - 1);

	if (header->request_id >> ID_TRY_BITS !=
		    (call->client->serial & (UINT64_MAX >> ID_TRY_BITS)) ||
	    attempt >= call->reply->attempts)
		return false;
	switch (header->status) {
	case FG_STATUS_OK:
		return call->describes ? header->dtype == FG_DTYPE_TEXT
				       : header->dtype == FG_DTYPE_F32 &&
						 header->rows == call->request->rows;
	case FG_STATUS_OVERLOADED:
	case FG_STATUS_REPLY_TOO_LONG:
		return attempt + 1 == call->reply->attempts;
	default:
		return true;
	}
}

/* Waits for an answer: 0 with *header, -ETIMEDOUT, or what the network said. UDP. */
static int await(struct call *call, uint64_t until_ns, struct fg_wire_header *header)
{
	struct fg_client *client = call->client;
	int code;

	for (;;) {
		ssize_t length =
			recv(client->fd, client->receive, sizeof(client->receive), MSG_DONTWAIT);

		if (length < 0 && errno != EAGAIN && errno != EINTR)
			return -errno;
		if (length >= 0) {
			if (fg_wire_parse_reply(client->receive, (size_t)length, header) == 0 &&
			    is_answer(call, header)) {
				call->answer = client->receive;
				return 0;
			}
			call->reply->ignored++;
			continue;
		}
		code = fg_client_wait(client->fd, POLLIN, until_ns, client->options.spin);
		if (code)
			return code;
	}
}

/*
 * Asks over the connection, opened if it is not. One that did not answer, or is about to go, is
 * not used again; so all that ever comes on one is the answer that is waited for.
 */
static int ask_connection(struct call *call, uint64_t until_ns, struct fg_wire_header *header)
{
	struct fg_client *client = call->client;
	struct fg_client_stream *stream = &client->stream;
	uint32_t length;
	int code = 0;

	if (stream->fd < 0)
		code = fg_client_stream_open(stream, &client->address, until_ns);
	if (!code)
		code = stamp(call);
	if (!code)
		code = fg_client_stream_send(stream, client->send, (uint32_t)call->length,
					     until_ns);
	if (!code)
		code = fg_client_stream_receive(stream, until_ns, client->options.spin,
						&call->answer, &length);
	if (!code &&
	    (fg_wire_parse_reply(call->answer, length, header) || !is_answer(call, header)))
		code = -EPROTO;
	if (code || header->flags & FG_WIRE_LEAVING)
		fg_client_stream_close(stream);
	return code;
}

/* Asks once. 0 with *header, -ETIMEDOUT, or what the network said. */
static int ask(struct call *call, uint64_t until_ns, struct fg_wire_header *header)
{
	int code;

	if (call->client->address.is_stream) {
		code = ask_connection(call, until_ns, header);
		if (code == -ECONNRESET && !call->was_lost) {
			call->was_lost = true;
			code = ask_connection(call, until_ns, header);
		}
		return code;
	}
	code = send_once(call);
	return code ? code : await(call, until_ns, header);
}

static void fill_reply(struct call *call, const struct fg_wire_header *header)
{
	struct fg_client_reply *reply = call->reply;
	uint64_t attempt = header->request_id & ((1 << ID_TRY_BITS) - 1);

	reply->status = header->status;
	reply->generation = header->generation;
	reply->version = header->model_version;
	reply->queued_ns = header->queued_ns;
	reply->compute_ns = header->compute_ns;
	reply->round_trip_ns = fg_client_now_ns() - call->sent_ns[attempt];
}

static int refused(struct call *call, const struct fg_wire_header *header)
{
	const char *text = (const char *)call->answer + sizeof(*header);
	int length = (int)header->payload_bytes;

	if (length == 0) {
		text = fg_status_help(header->status);
		length = (int)strlen(text);
	}
	return fg_client_fail(call->error, -EREMOTEIO, "%s refused model '%s': %s: %.*s",
			      call->client->name, call->request->model,
			      fg_status_name(header->status), length, text);
}

static int finish(struct call *call, const struct fg_wire_header *header)
{
	uint64_t count = (uint64_t)header->rows * header->cols;

	fill_reply(call, header);
	if (header->status != FG_STATUS_OK)
		return refused(call, header);
	if (call->describes)
		return 0;
	call->reply->rows = header->rows;
	call->reply->cols = header->cols;
	call->client->known_model = header->model;
	call->client->known_cols = header->cols;
	if (count > call->out_count)
		return fg_client_fail(call->error, -ENOBUFS,
				      "the answer is (%u, %u), more than the %zu floats there is "
				      "room for",
				      header->rows, header->cols, call->out_count);
	memcpy(call->out, call->answer + sizeof(*header), count * sizeof(float));
	return 0;
}

static int no_answer(struct call *call, int code)
{
	const struct fg_client *client = call->client;

	if (code == -ETIMEDOUT)
		return fg_client_fail(call->error, code,
				      "no answer from %s within %u ms (asked %u times): does "
				      "flipgated listen there, and is it ready (flipgate status)?",
				      client->name, client->options.timeout_ms,
				      call->reply->attempts);
	if (code == -EPROTO)
		return fg_client_fail(call->error, code,
				      "%s does not speak our protocol: is it flipgated that "
				      "listens there?",
				      client->name);
	if (code == -ECONNRESET)
		return fg_client_fail(call->error, code,
				      "%s ended the connection before it answered (asked %u "
				      "times): flipgated's log may say why",
				      client->name, call->reply->attempts);
	return fg_client_fail(call->error, code, "%s: %s: is flipgated listening there?",
			      client->name, strerror(-code));
}

/* Has the caller room for as many floats as one message may hold? */
static bool takes_all(const struct call *call)
{
	return call->out_count >= MOST_FLOATS;
}

static int too_long(struct call *call, const struct fg_wire_header *header)
{
	fill_reply(call, header);
	if (call->client->address.is_stream || takes_all(call))
		return fg_client_fail(call->error, -EMSGSIZE,
				      "the answer to %u rows does not fit one message: send fewer "
				      "rows",
				      call->request->rows);
	return fg_client_fail(call->error, -ENOBUFS,
			      "the answer has more than the %zu floats there is room for",
			      call->out_count);
}

/*
 * Nobody knows how long an answer of this model is until one came: the first time, ask for as much
 * as the caller has room for. Not a retry, for the server is there and answers. UDP.
 */
static int ask_padded(struct call *call, struct fg_wire_header *header)
{
	int code;

	call->was_padded = true;
	if (call->describes)
		pad_for(call, DESCRIPTION_BYTES / sizeof(float));
	else
		pad_for(call, takes_all(call) ? MOST_FLOATS : call->out_count);
	code = ask(call, call->until_ns, header);
	if (code)
		return no_answer(call, code);
	return header->status == FG_STATUS_REPLY_TOO_LONG ? too_long(call, header) : 0;
}

static int exchange(struct call *call)
{
	const struct fg_client_options *options = &call->client->options;
	uint64_t total_ns = options->timeout_ms * MS_NS;
	uint64_t wait_ns = total_ns / ((2ull << options->retries) - 1);
	struct fg_wire_header header;
	int code = -ETIMEDOUT;

	call->until_ns = fg_client_now_ns() + total_ns;
	for (uint32_t retry = 0; retry <= options->retries; retry++, wait_ns *= 2) {
		bool last = retry == options->retries;
		uint64_t until_ns = last ? call->until_ns : fg_client_now_ns() + wait_ns;

		code = ask(call, until_ns, &header);
		if (!code && header.status == FG_STATUS_REPLY_TOO_LONG) {
			code = call->client->address.is_stream || call->was_padded
				       ? too_long(call, &header)
				       : ask_padded(call, &header);
			if (code)
				return code;
		}
		if (!code && (last || header.status != FG_STATUS_OVERLOADED))
			return finish(call, &header);
		if (code == -EPROTO)
			break;
		if (!last && code != -ETIMEDOUT)
			fg_client_sleep_until(until_ns);
	}
	return no_answer(call, code);
}

/* A line of a description: see docs/protocol.md. What a later server writes behind the name does
 * not count. */
static bool parse_port(const char *line, size_t length, struct fg_client_port *port)
{
	char copy[256], direction[8], type[16];

	if (length >= sizeof(copy))
		return false;
	memcpy(copy, line, length);
	copy[length] = 0;
	memset(port, 0, sizeof(*port));
	if (sscanf(copy, "%7[a-z]\t%u\t%u\t%15[a-z0-9]\t%63[^\t]", direction, &port->first,
		   &port->cols, type, port->name) != 5)
		return false;
	port->is_output = strcmp(direction, "output") == 0;
	port->is_integer = strcmp(type, "integer") == 0;
	return true;
}

static int parse_ports(struct call *call, struct fg_client_port *ports, size_t port_room,
		       size_t *port_count)
{
	const char *text = (const char *)call->answer + FG_WIRE_HEADER_BYTES, *end;
	struct fg_wire_header header;
	struct fg_client_port port;

	memcpy(&header, call->answer, sizeof(header));
	*port_count = 0;
	for (end = text + header.payload_bytes; text < end; (*port_count)++) {
		const char *newline = memchr(text, '\n', (size_t)(end - text));

		if (!newline || !parse_port(text, (size_t)(newline - text), &port))
			return fg_client_fail(call->error, -EPROTO,
					      "%s describes its model in words that this client "
					      "does not know",
					      call->client->name);
		if (*port_count < port_room)
			ports[*port_count] = port;
		text = newline + 1;
	}
	if (*port_count > port_room)
		return fg_client_fail(
			call->error, -ENOBUFS,
			"the model has %zu inputs and outputs, more than the %zu there "
			"is room for",
			*port_count, port_room);
	return 0;
}

int fg_client_describe(struct fg_client *client, const struct fg_client_request *request,
		       struct fg_client_port *ports, size_t port_room, size_t *port_count,
		       struct fg_client_reply *reply, struct fg_client_error *error)
{
	struct fg_client_reply unwanted;
	struct call call = {
		.client = client,
		.request = request,
		.describes = true,
		.reply = reply ? reply : &unwanted,
		.error = error,
	};
	int code;

	memset(call.reply, 0, sizeof(*call.reply));
	code = build_question(&call);
	if (code)
		return code;
	client->serial++;
	code = exchange(&call);
	return code ? code : parse_ports(&call, ports, port_room, port_count);
}

int fg_client_infer(struct fg_client *client, const struct fg_client_request *request, float *out,
		    size_t out_count, struct fg_client_reply *reply, struct fg_client_error *error)
{
	struct fg_client_reply unwanted;
	struct call call = {
		.client = client,
		.request = request,
		.out = out,
		.out_count = out_count,
		.reply = reply ? reply : &unwanted,
		.error = error,
	};
	int code;

	memset(call.reply, 0, sizeof(*call.reply));
	code = build(&call);
	if (code)
		return code;
	client->serial++;
	return exchange(&call);
}
