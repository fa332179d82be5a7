#include "tools/cli_load.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>
#include "tools/client_address.h"

#define SECOND_NS     1000000000ull
#define START_NS      2000000ull /* from the first look at the clock to the first request */
#define SEND_BATCH    32
#define RECEIVE_BATCH 16
#define EVENTS	      64
#define SCANNED	      16 /* so few sockets are read without asking epoll which */
#define OTHER_FILES   32
#define SPARE_SOCKETS 16
#define PROBE_MS      3000
#define PROBE_RETRIES 3

/* A request id is 24 random bits of this run and the number of the request. */
#define ID_BITS 40

/* A socket and what it waits for. */
struct conn {
	int fd;		  /* -1: not open */
	uint32_t flow;	  /* when every flow has its own */
	uint32_t waiting; /* requests sent and not answered */
	uint32_t place;	  /* in run.waiting, while it waits for any */
	bool ended;	  /* its flow is over: closed when all is answered, or lost */
	uint64_t last_sent_ns;
};

struct run {
	struct fg_load *load;
	const struct fg_load_config *config;
	struct fg_client_address address;
	struct fg_wire_header header; /* of every request */
	size_t padding;
	uint64_t run_id; /* upper bits of every request id */
	struct conn *conns;
	uint32_t conn_count; /* room in conns */
	uint32_t open_conns;
	uint32_t search;   /* where to look for a closed one next */
	uint32_t *active;  /* [flow slot] -> conn */
	uint32_t *waiting; /* the conns that wait for replies, in no order */
	uint32_t waiting_count;
	int epoll;
	uint64_t swept_ns;
	unsigned char *zeros;	/* `padding` bytes */
	unsigned char *receive; /* RECEIVE_BATCH buffers of receive_bytes */
	size_t receive_bytes;
	uint32_t answered;
};

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * SECOND_NS + (uint64_t)now.tv_nsec;
}

/* ---- sockets -------------------------------------------------------------------------------- */

static int open_conn(struct run *run, uint32_t flow, uint32_t *index)
{
	struct epoll_event event = {.events = EPOLLIN};
	int bytes = 4 << 20;
	struct conn *conn;

	while (run->conns[run->search].fd >= 0) /* there is room: count_conns has seen to it */
		run->search = (run->search + 1) % run->conn_count;
	*index = run->search;
	conn = &run->conns[*index];
	*conn = (struct conn){.fd = fg_client_connect(&run->address), .flow = flow};
	if (conn->fd < 0)
		return conn->fd;
	run->open_conns++;
	if (run->config->sockets)
		setsockopt(conn->fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
	event.data.u32 = *index;
	return epoll_ctl(run->epoll, EPOLL_CTL_ADD, conn->fd, &event) ? -errno : 0;
}

static void sent_on(struct run *run, struct conn *conn, uint32_t requests, uint64_t now)
{
	if (conn->waiting == 0) {
		conn->place = run->waiting_count;
		run->waiting[run->waiting_count++] = (uint32_t)(conn - run->conns);
	}
	conn->waiting += requests;
	conn->last_sent_ns = now;
}

static void answered_on(struct run *run, struct conn *conn, uint32_t requests)
{
	uint32_t moved;

	conn->waiting -= requests;
	if (conn->waiting)
		return;
	moved = run->waiting[--run->waiting_count];
	run->waiting[conn->place] = moved;
	run->conns[moved].place = conn->place;
}

static void close_conn(struct run *run, struct conn *conn)
{
	if (conn->waiting)
		answered_on(run, conn, conn->waiting); /* or lost */
	close(conn->fd);
	conn->fd = -1;
	run->open_conns--;
}

/* Closes the sockets of ended flows whose last request is lost by now. */
static void sweep(struct run *run, uint64_t now)
{
	if (now - run->swept_ns < run->config->timeout_ns / 16)
		return;
	run->swept_ns = now;
	for (uint32_t i = 0; i < run->conn_count; i++) {
		struct conn *conn = &run->conns[i];

		if (conn->fd >= 0 && conn->ended &&
		    now - conn->last_sent_ns > run->config->timeout_ns)
			close_conn(run, conn);
	}
}

/* The socket for request i: its flow's own, opened when the flow begins, or a shared one. */
static int conn_for(struct run *run, uint32_t i, uint64_t now, struct conn **conn)
{
	const struct fg_load_config *config = run->config;
	uint32_t slot = i % config->flows, flow = fg_load_flow(config, i), *active;
	int code;

	if (config->sockets) {
		*conn = &run->conns[(uint64_t)slot * config->sockets / config->flows];
		return 0;
	}
	active = &run->active[slot];
	*conn = &run->conns[*active];
	if ((*conn)->flow == flow)
		return 0;
	(*conn)->ended = true;
	if ((*conn)->waiting == 0)
		close_conn(run, *conn);
	sweep(run, now);
	code = open_conn(run, flow, active);
	*conn = &run->conns[*active];
	return code;
}

/*
 * Sockets that may be open at once: one per flow, and those of ended flows until their last
 * request is answered or lost, which sweep notices a sixteenth of the time-out later.
 */
static uint64_t count_conns(const struct fg_load_config *config)
{
	double ends_per_s = config->flow_requests ? config->rate / config->flow_requests : 0;
	double held_s = (double)config->timeout_ns * 1.0625 / 1e9;

	if (config->sockets)
		return config->sockets;
	return config->flows + (uint64_t)ceil(ends_per_s * held_s) +
	       (config->flow_requests ? SPARE_SOCKETS : 0);
}

static int allow_files(uint64_t wanted, struct fg_error *error)
{
	struct rlimit limit;

	getrlimit(RLIMIT_NOFILE, &limit);
	if (limit.rlim_cur < wanted) {
		limit.rlim_cur = limit.rlim_max < wanted ? limit.rlim_max : wanted;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
	if (limit.rlim_cur >= wanted)
		return 0;
	return fg_error_set(error, -EMFILE,
			    "these flows need up to %llu sockets at once, the limit is %llu: "
			    "fewer --flows, more --flow-requests, --affinity, or ulimit -Hn",
			    (unsigned long long)wanted, (unsigned long long)limit.rlim_cur);
}

static int open_conns(struct run *run, struct fg_error *error)
{
	uint32_t first = run->config->sockets ? run->config->sockets : run->config->flows;
	uint32_t slots = run->config->sockets ? 0 : run->config->flows;
	int code = 0;

	run->active = calloc(run->config->flows, sizeof(*run->active));
	run->conns = calloc(run->conn_count, sizeof(*run->conns));
	run->waiting = calloc(run->conn_count, sizeof(*run->waiting));
	if (!run->active || !run->conns || !run->waiting)
		return fg_error_set(error, -ENOMEM, "out of memory");
	for (uint32_t i = 0; i < run->conn_count; i++)
		run->conns[i].fd = -1;
	run->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (run->epoll < 0)
		return fg_error_set(error, -errno, "epoll: %s", strerror(errno));
	for (uint32_t i = 0; i < first && !code; i++) {
		uint32_t index;

		code = open_conn(run, fg_load_flow(run->config, i), &index);
		if (i < slots)
			run->active[i] = index;
	}
	return code ? fg_error_set(error, code, "socket %u of %u: %s", run->open_conns, first,
				   strerror(-code))
		    : 0;
}

/* ---- sending -------------------------------------------------------------------------------- */

/* Messages for one socket, being gathered. */
struct batch {
	struct conn *conn;
	unsigned count;
	uint32_t first; /* number of the first request; the others follow it */
	struct mmsghdr messages[SEND_BATCH];
	struct fg_wire_header headers[SEND_BATCH];
	struct iovec parts[SEND_BATCH][4];
};

static void add(struct run *run, struct batch *batch, uint32_t i)
{
	const struct fg_load_config *config = run->config;
	struct fg_wire_header *header = &batch->headers[batch->count];
	struct iovec *parts = batch->parts[batch->count];
	struct msghdr *message = &batch->messages[batch->count].msg_hdr;
	size_t row_bytes = fg_matrix_row_bytes(&config->input), row = fg_load_row(config, i);
	size_t wanted = config->rows_per_request, tail = config->input.rows - row;
	char *data = config->input.data;

	*header = run->header;
	header->request_id = run->run_id | i;
	if (config->sockets)
		header->affinity = config->first_key + fg_load_flow(config, i);
	if (tail > wanted)
		tail = wanted;
	parts[0] = (struct iovec){header, sizeof(*header)};
	parts[1] = (struct iovec){data + row * row_bytes, tail * row_bytes};
	parts[2] = (struct iovec){data, (wanted - tail) * row_bytes}; /* round the end */
	parts[3] = (struct iovec){run->zeros, run->padding};
	*message = (struct msghdr){.msg_iov = parts, .msg_iovlen = 4};
	if (batch->count++ == 0)
		batch->first = i;
}

static void note_error(struct fg_load *load, int error)
{
	load->socket_errors++;
	load->last_socket_error = error;
}

static void mark_sent(struct run *run, const struct batch *batch, unsigned count, uint64_t now)
{
	struct fg_load *load = run->load;

	for (unsigned j = 0; j < count; j++) {
		uint32_t i = batch->first + j;
		uint64_t lag = now - load->start_ns - fg_load_due_ns(load, i);

		load->samples[i].sent = true;
		load->samples[i].lag_ns = lag > UINT32_MAX ? UINT32_MAX : (uint32_t)lag;
	}
	if (load->sent == 0)
		load->first_sent_ns = now;
	load->sent += count;
	load->last_sent_ns = now;
	sent_on(run, batch->conn, count, now);
}

/*
 * Sends what can be sent now; the rest is due again at the next look. An error met by an earlier
 * datagram (ICMP) is told by the first call after it, which sends nothing: count it, go on.
 */
static void flush(struct run *run, struct batch *batch)
{
	uint64_t now = now_ns();
	int sent = sendmmsg(batch->conn->fd, batch->messages, batch->count, MSG_DONTWAIT);

	if (sent > 0)
		mark_sent(run, batch, (unsigned)sent, now);
	else if (sent < 0 && errno != EAGAIN && errno != EINTR)
		note_error(run->load, errno);
}

/* Sends requests that are due, some for one socket. Returns 0 or the -errno of a new socket. */
static int send_due(struct run *run, uint64_t now)
{
	struct fg_load *load = run->load;
	struct batch batch = {.conn = NULL, .count = 0};
	uint32_t i = load->sent;

	while (i < load->count && batch.count < SEND_BATCH &&
	       load->start_ns + fg_load_due_ns(load, i) <= now) {
		struct conn *conn;
		int code;

		if (batch.count && !load->config->sockets &&
		    fg_load_flow(load->config, i) != batch.conn->flow)
			break; /* and its socket must live until it is flushed */
		code = conn_for(run, i, now, &conn);
		if (code)
			return code;
		if (batch.count && conn != batch.conn)
			break;
		batch.conn = conn;
		add(run, &batch, i++);
	}
	if (batch.count)
		flush(run, &batch);
	return 0;
}

/* ---- receiving ------------------------------------------------------------------------------ */

static void take_reply(struct run *run, struct conn *conn, const unsigned char *bytes,
		       size_t length, uint64_t now)
{
	struct fg_load *load = run->load;
	struct fg_load_sample *sample;
	struct fg_wire_header header;
	uint64_t i, rtt;

	if (fg_wire_parse_reply(bytes, length, &header) ||
	    (header.status == FG_STATUS_OK && header.dtype != FG_DTYPE_F32) ||
	    header.request_id >> ID_BITS != run->run_id >> ID_BITS ||
	    (i = header.request_id & ((1ull << ID_BITS) - 1)) >= load->sent ||
	    (!run->config->sockets && fg_load_flow(run->config, (uint32_t)i) != conn->flow)) {
		load->strays++;
		return;
	}
	sample = &load->samples[i];
	if (sample->answered) {
		load->duplicates++;
		return;
	}
	sample->answered = true;
	run->answered++;
	answered_on(run, conn, 1);
	rtt = now - load->start_ns - fg_load_due_ns(load, (uint32_t)i);
	if (rtt - sample->lag_ns > run->config->timeout_ns) {
		load->late++;
		return;
	}
	sample->rtt_ns = rtt;
	fg_load_take(load, (uint32_t)i, &header, bytes + sizeof(header));
}

static void receive(struct run *run, struct conn *conn)
{
	struct mmsghdr messages[RECEIVE_BATCH];
	struct iovec parts[RECEIVE_BATCH];
	uint64_t now;
	int got;

	for (int j = 0; j < RECEIVE_BATCH; j++) {
		parts[j] = (struct iovec){run->receive + (size_t)j * run->receive_bytes,
					  run->receive_bytes};
		messages[j].msg_hdr = (struct msghdr){.msg_iov = &parts[j], .msg_iovlen = 1};
	}
	got = recvmmsg(conn->fd, messages, RECEIVE_BATCH, MSG_DONTWAIT, NULL);
	if (got < 0 && errno != EAGAIN && errno != EINTR)
		note_error(run->load, errno);
	now = now_ns();
	for (int j = 0; j < got; j++)
		take_reply(run, conn, parts[j].iov_base, messages[j].msg_len, now);
	if (conn->ended && conn->waiting == 0)
		close_conn(run, conn);
}

/*
 * Reads what has come; sleeps at most until `until_ns` when the configuration says so. Where few
 * sockets wait for anything, reading them all is quicker than asking which have something.
 */
static void receive_all(struct run *run, uint64_t now, uint64_t until_ns)
{
	struct epoll_event events[EVENTS];
	struct timespec timeout = {.tv_sec = 0};
	int count;

	if (run->config->sleep && until_ns > now) {
		timeout.tv_sec = (time_t)((until_ns - now) / SECOND_NS);
		timeout.tv_nsec = (long)((until_ns - now) % SECOND_NS);
	} else if (run->waiting_count <= SCANNED) {
		for (uint32_t k = run->waiting_count;
		     k-- > 0;) /* the last takes a gone one's place */
			receive(run, &run->conns[run->waiting[k]]);
		return;
	}
	count = epoll_pwait2(run->epoll, events, EVENTS, &timeout, NULL);
	for (int j = 0; j < count; j++)
		receive(run, &run->conns[events[j].data.u32]);
}

/* ---- the run -------------------------------------------------------------------------------- */

static int loop(struct run *run, struct fg_error *error)
{
	struct fg_load *load = run->load;
	uint64_t end_ns = load->start_ns + fg_load_due_ns(load, load->count);

	for (;;) {
		uint64_t now = now_ns(), until_ns;
		int code;

		if (run->config->stop && *run->config->stop)
			load->count = load->sent;
		if (load->sent == load->count) {
			until_ns = load->last_sent_ns + run->config->timeout_ns;
			if (run->answered == load->sent || now > until_ns)
				return 0;
		} else {
			until_ns = load->start_ns + fg_load_due_ns(load, load->sent);
			if (now > end_ns + run->config->timeout_ns)
				return 0; /* the kernel does not take them: not_sent says so */
			code = send_due(run, now);
			if (code)
				return fg_error_set(error, code, "socket for a new flow: %s",
						    strerror(-code));
		}
		receive_all(run, now, until_ns);
	}
}

/* One question before the start: is the model served, and how long are its answers? */
static int probe(struct fg_load *load, struct fg_error *error)
{
	const struct fg_load_config *config = load->config;
	const struct fg_client_options options = {.timeout_ms = PROBE_MS, .retries = PROBE_RETRIES};
	size_t room = FG_WIRE_MAX_DATAGRAM / sizeof(float);
	struct fg_client_request request = {
		.model = config->model,
		.version = config->version,
		.dtype = config->input.dtype,
		.rows = 1,
		.cols = config->input.cols,
		.data = config->input.data,
	};
	struct fg_client_error failed = {.text = "out of memory"};
	struct fg_client_reply reply;
	struct fg_client *client;
	float *out = malloc(room * sizeof(*out));
	int code = out ? fg_client_open(&client, config->address, &options, &failed) : -ENOMEM;

	if (!code) {
		code = fg_client_infer(client, &request, out, room, &reply, &failed);
		if (!code)
			load->out_cols = reply.cols;
		fg_client_close(client);
	}
	free(out);
	return code ? fg_error_set(error, code, "%s", failed.text) : 0;
}

static int check_files(const struct fg_load *load, struct fg_error *error)
{
	const struct fg_load_config *config = load->config;

	for (uint32_t e = 0; e < config->expect_count; e++) {
		const struct fg_matrix *outputs = &config->expects[e].outputs;

		if (outputs->rows != config->input.rows || outputs->cols != load->out_cols)
			return fg_error_set(error, -EINVAL,
					    "--expect of version %llu is (%zu, %u), want (%zu, %u)",
					    (unsigned long long)config->expects[e].version,
					    outputs->rows, outputs->cols, config->input.rows,
					    load->out_cols);
	}
	if (config->labels.data &&
	    (config->labels.rows != config->input.rows || config->labels.cols != 1))
		return fg_error_set(error, -EINVAL, "--labels are (%zu, %u), want (%zu, 1)",
				    config->labels.rows, config->labels.cols, config->input.rows);
	return 0;
}

static int prepare_messages(struct run *run, struct fg_error *error)
{
	const struct fg_load_config *config = run->config;
	size_t reply = (size_t)config->rows_per_request * run->load->out_cols * sizeof(float);
	int64_t payload =
		fg_wire_request(&run->header, fg_wire_model(config->model), config->input.dtype,
				config->rows_per_request, config->input.cols);
	size_t datagram = sizeof(run->header) + (size_t)payload;

	if (payload < 0 || reply > FG_WIRE_MAX_DATAGRAM - sizeof(run->header))
		return fg_error_set(error, -EMSGSIZE,
				    "%u rows, or their answer, do not fit one datagram: smaller "
				    "--rows-per-request",
				    config->rows_per_request);
	run->header.model_version = config->version;
	run->header.deadline_us = config->deadline_us;
	run->padding = reply > datagram ? reply - datagram : 0;
	run->receive_bytes = (datagram + run->padding + FG_WIRE_AMPLIFICATION + 63) & ~(size_t)63;
	run->zeros = calloc(1, run->padding + 1);
	run->receive = aligned_alloc(64, RECEIVE_BATCH * run->receive_bytes);
	if (!run->zeros || !run->receive)
		return fg_error_set(error, -ENOMEM, "out of memory");
	if (getrandom(&run->run_id, sizeof(run->run_id), 0) < 0)
		run->run_id = now_ns() << ID_BITS;
	run->run_id &= ~((1ull << ID_BITS) - 1);
	return 0;
}

static int resolve(struct run *run, struct fg_error *error)
{
	struct fg_client_error failed;
	int code = fg_client_resolve(&run->address, run->config->address, &failed);

	return code ? fg_error_set(error, code, "%s", failed.text) : 0;
}

static int prepare_samples(struct fg_load *load, struct fg_error *error)
{
	const struct fg_load_config *config = load->config;
	double count = ceil((double)(config->duration_ns + config->warmup_ns) / 1e9 * config->rate);

	if (count > FG_LOAD_MAX_SAMPLES)
		return fg_error_set(error, -EINVAL,
				    "%.0f requests are more than the %u that are kept: lower "
				    "--rate, shorter --duration",
				    count, FG_LOAD_MAX_SAMPLES);
	load->count = load->room = (uint32_t)count;
	/* Populated now: a page fault while sending would be seen as somebody's latency. */
	load->samples = mmap(NULL, load->count * sizeof(*load->samples), PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (load->samples == MAP_FAILED) {
		load->samples = NULL;
		return fg_error_set(error, -ENOMEM, "no memory for %u samples", load->count);
	}
	return 0;
}

static void end(struct run *run)
{
	for (uint32_t i = 0; run->conns && i < run->conn_count; i++)
		if (run->conns[i].fd >= 0)
			close_conn(run, &run->conns[i]);
	if (run->epoll >= 0)
		close(run->epoll);
	free(run->conns);
	free(run->active);
	free(run->waiting);
	free(run->zeros);
	free(run->receive);
}

int fg_load_run(struct fg_load *load, const struct fg_load_config *config, struct fg_error *error)
{
	struct run run = {.load = load, .config = config, .epoll = -1};
	uint64_t conns = count_conns(config);
	int code;

	memset(load, 0, sizeof(*load));
	load->config = config;
	code = allow_files(conns + OTHER_FILES, error);
	if (code)
		return code;
	run.conn_count = (uint32_t)conns;
	if ((code = resolve(&run, error)) || (code = probe(load, error)) ||
	    (code = check_files(load, error)) || (code = prepare_messages(&run, error)) ||
	    (code = prepare_samples(load, error)) || (code = open_conns(&run, error)))
		goto out;
	prctl(PR_SET_TIMERSLACK, 1);
	load->start_ns = load->last_sent_ns = now_ns() + START_NS;
	code = loop(&run, error);
out:
	end(&run);
	if (code)
		fg_load_free(load);
	return code;
}
