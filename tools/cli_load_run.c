#include "tools/cli_load_run.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include "tools/client_wait.h"
#include "tools/cli_ports.h"

#define START_NS      2000000ull /* from the first look at the clock to the first request */
#define OTHER_FILES   32
#define SPARE_SOCKETS 16
#define PROBE_MS      3000
#define PROBE_RETRIES 3

/* A request id is 24 random bits of this run and the number of the request. */
#define ID_BITS 40

/* ---- requests and replies ------------------------------------------------------------------- */

void fg_load_request(const struct fg_load_run *run, uint32_t i, struct fg_wire_header *header,
		     struct iovec parts[FG_LOAD_ROW_PARTS])
{
	const struct fg_load_config *config = run->config;
	size_t row_bytes = fg_matrix_row_bytes(&config->input), row = fg_load_row(config, i);
	size_t wanted = config->rows_per_request, tail = config->input.rows - row;
	char *data = config->input.data;

	*header = run->header;
	header->request_id = run->run_id | i;
	if (config->sockets)
		header->affinity = config->first_key + fg_load_flow(config, i);
	if (tail > wanted)
		tail = wanted;
	parts[0] = (struct iovec){data + row * row_bytes, tail * row_bytes};
	parts[1] = (struct iovec){data, (wanted - tail) * row_bytes};
}

void fg_load_sent(struct fg_load_run *run, uint32_t i, uint64_t now)
{
	struct fg_load *load = run->load;
	uint64_t lag = now - load->start_ns - fg_load_due_ns(load, i);

	load->samples[i].lag_ns = lag > UINT32_MAX ? UINT32_MAX : (uint32_t)lag;
	if (load->first_sent_ns == 0)
		load->first_sent_ns = now;
	load->last_sent_ns = now;
}

bool fg_load_is_reply(const struct fg_load_run *run, const void *message, size_t length,
		      struct fg_wire_header *header, uint32_t *i)
{
	uint64_t number;

	if (fg_wire_parse_reply(message, length, header) ||
	    (header->status == FG_STATUS_OK && header->dtype != FG_DTYPE_F32) ||
	    header->request_id >> ID_BITS != run->run_id >> ID_BITS)
		return false;
	number = header->request_id & ((1ull << ID_BITS) - 1);
	*i = (uint32_t)number;
	return number < run->load->sent;
}

bool fg_load_answered(struct fg_load_run *run, uint32_t i, const struct fg_wire_header *header,
		      const void *payload, uint64_t now)
{
	struct fg_load *load = run->load;
	struct fg_load_sample *sample = &load->samples[i];
	uint64_t rtt = now - load->start_ns - fg_load_due_ns(load, i);

	if (sample->answered) {
		load->duplicates++;
		return false;
	}
	sample->answered = true;
	run->answered++;
	if (rtt - sample->lag_ns > run->config->timeout_ns) {
		load->late++;
		return true;
	}
	sample->rtt_ns = rtt;
	fg_load_take(load, i, header, payload);
	return true;
}

void fg_load_note_error(struct fg_load *load, int error)
{
	load->socket_errors++;
	load->last_socket_error = error;
}

/* ---- the run -------------------------------------------------------------------------------- */

int fg_load_loop(struct fg_load_run *run, const struct fg_load_transport *transport,
		 struct fg_error *error)
{
	struct fg_load *load = run->load;
	uint64_t end_ns;

	prctl(PR_SET_TIMERSLACK, 1);
	load->start_ns = load->last_sent_ns = fg_client_now_ns() + START_NS;
	end_ns = load->start_ns + fg_load_due_ns(load, load->count);
	for (;;) {
		uint64_t now = fg_client_now_ns(), until_ns;
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
			code = transport->send_due(transport->state, now);
			if (code)
				return fg_error_set(error, code, "socket for a new flow: %s",
						    strerror(-code));
		}
		transport->receive(transport->state, now, until_ns);
	}
}

/* Which output the labels speak of. */
static int find_classes(struct fg_load *load, struct fg_client *client,
			const struct fg_client_request *request, struct fg_client_error *failed)
{
	struct fg_cli_ports *ports = calloc(1, sizeof(*ports));
	const struct fg_client_port *port;
	struct fg_error error;
	int code = ports ? fg_cli_ports_ask(ports, client, request, failed) : -ENOMEM;

	if (!code) {
		fg_cli_ports_settle(ports, load->out_cols);
		code = fg_cli_ports_class(ports, load->config->labels_output, &port, &error);
		if (code)
			snprintf(failed->text, sizeof(failed->text), "--labels: %.240s",
				 error.text);
		else
			load->classes = *port;
	}
	free(ports);
	return code;
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
		.label = config->label,
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
		if (!code && config->labels.data)
			code = find_classes(load, client, &request, &failed);
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

static int prepare_messages(struct fg_load_run *run, struct fg_error *error)
{
	const struct fg_load_config *config = run->config;
	int64_t payload =
		fg_wire_request(&run->header, fg_wire_model(config->model), config->input.dtype,
				config->rows_per_request, config->input.cols);

	run->message_bytes = sizeof(run->header) + (size_t)payload;
	run->reply_bytes = sizeof(run->header) +
			   (size_t)config->rows_per_request * run->load->out_cols * sizeof(float);
	if (payload < 0 || run->reply_bytes > FG_WIRE_MAX_DATAGRAM)
		return fg_error_set(error, -EMSGSIZE,
				    "%u rows, or their answer, do not fit one datagram: smaller "
				    "--rows-per-request",
				    config->rows_per_request);
	if (config->rows_per_request > config->input.rows)
		return fg_error_set(error, -EINVAL,
				    "--rows-per-request %u: the input has only %zu rows",
				    config->rows_per_request, config->input.rows);
	run->header.model_version = config->label ? fg_wire_label(config->label) : config->version;
	run->header.flags = config->label ? FG_WIRE_LABEL : 0;
	run->header.deadline_us = config->deadline_us;
	if (getrandom(&run->run_id, sizeof(run->run_id), 0) < 0)
		run->run_id = fg_client_now_ns() << ID_BITS;
	run->run_id &= ~((1ull << ID_BITS) - 1);
	return 0;
}

static int resolve(struct fg_load_run *run, struct fg_error *error)
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

/*
 * Sockets that may be open at once: one per flow, and those of ended flows until their last
 * request is answered or lost, which a sweep notices a sixteenth of the time-out later. Over TCP
 * each may also have a successor while it answers what it was asked.
 */
static uint64_t count_sockets(const struct fg_load_run *run)
{
	const struct fg_load_config *config = run->config;
	double ends_per_s = config->flow_requests ? config->rate / config->flow_requests : 0;
	double held_s = (double)config->timeout_ns * 1.0625 / 1e9;
	uint64_t count = config->sockets ? config->sockets : config->flows;

	if (run->address.is_stream)
		count *= 2;
	if (config->flow_requests && !config->sockets)
		count += (uint64_t)ceil(ends_per_s * held_s) + SPARE_SOCKETS;
	return count;
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

int fg_load_run(struct fg_load *load, const struct fg_load_config *config, struct fg_error *error)
{
	struct fg_load_run run = {.load = load, .config = config};
	uint64_t sockets;
	int code;

	memset(load, 0, sizeof(*load));
	load->config = config;
	if ((code = resolve(&run, error)))
		return code;
	load->is_stream = run.address.is_stream;
	sockets = count_sockets(&run);
	if ((code = allow_files(sockets + OTHER_FILES, error)))
		return code;
	run.sockets = (uint32_t)sockets;
	if ((code = probe(load, error)) || (code = check_files(load, error)) ||
	    (code = prepare_messages(&run, error)) || (code = prepare_samples(load, error)))
		goto out;
	code = load->is_stream ? fg_load_tcp(&run, error) : fg_load_udp(&run, error);
out:
	if (code)
		fg_load_free(load);
	return code;
}
