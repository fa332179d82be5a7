/* flipgate infer: sends the rows of a file and prints the answers. */
#include "tools/cli_common.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "tools/cli_control.h"
#include "tools/cli_matrix.h"
#include "tools/cli_ports.h"
#include "tools/cli_table.h"
#include "tools/cli_why.h"
#include "tools/flipgate.h"
#include "userspace/protocol/wire.h"

#define MAX_FLOATS    ((FG_WIRE_MAX_DATAGRAM - FG_WIRE_HEADER_BYTES) / sizeof(float))
#define UNFRAGMENTED  1400 /* bytes of rows that any network carries in one packet */
#define SHOWN_COLUMNS 10
#define MAX_BATCH     1024

static const char help[] =
	"Usage: flipgate infer ADDRESS MODEL --input FILE [OPTION]...\n"
	"\n"
	"Sends rows of numbers to the model MODEL at ADDRESS (HOST:PORT for UDP,\n"
	"tcp://HOST:PORT for TCP), and prints the outputs and which version and generation gave\n"
	"them.\n"
	"\n"
	"  --input FILE     .npy, or text with one row per line; - is stdin\n"
	"  --header H       is the first line of a text one of names? yes, no, or auto\n"
	"                   (default): if no field of it is a number\n"
	"  --rows A:B       only rows A up to, not including, B (from 0); A: and :B work too\n"
	"  --version N      want this version; default: the one that is live\n"
	"  --label NAME     want the version with this label instead, like stable or canary\n"
	"  --affinity K     affinity key: all requests of one key go to one worker and version\n"
	"  --dtype T        send as f32 (default), or as the file's own type: f64, f16, u8, i8\n"
	"  --batch N        rows per request; default: as many as fit 1400 bytes, at least 1\n"
	"  --deadline US    the server refuses when it cannot answer within this\n"
	"  --timeout MS     for each request, retries included; default 1000\n"
	"  --retries N      send again so often, waiting longer each time; default 2\n"
	"  --socket PATH    control socket that is asked why, when the gateway is on this host\n"
	"                   and does not answer; default " FG_CLI_SOCKET "\n"
	"  --output FORMAT  text (default) or json\n"
	"\n"
	"Examples:\n"
	"  flipgate infer 10.0.0.1:9000 digits --input inputs.npy --rows 0:3\n"
	"  flipgate infer tcp://10.0.0.1:9000 digits --input inputs.npy --label canary\n"
	"  echo 5.1,3.5,1.4,0.2 | flipgate infer localhost:9000 iris --input - --output json\n";

struct infer {
	const char *address, *input, *socket;
	enum fg_csv_header header;
	struct fg_client_request request; /* model, version, label, affinity, dtype, deadline */
	struct fg_client_options options;
	size_t first, last; /* rows [first, last) */
	uint64_t batch;	    /* rows per request, 0: not said */
	struct fg_cli_output output;
	struct fg_matrix matrix;
	struct fg_cli_ports *ports;	    /* of the model that answers */
	json_t *outputs, *argmax, *answers; /* rows; {output: [column of each row]}; replies */
	uint32_t cols;			    /* of the answers */
};

static int parse_range(const struct fg_cli_verb *verb, const char *text, struct infer *infer)
{
	unsigned long long first = 0, last = SIZE_MAX;
	const char *colon = strchr(text, ':');
	char *rest;

	if (!colon || strspn(text, "0123456789:") != strlen(text))
		return fg_cli_usage(verb, "--rows %s: want A:B, like 0:3", text);
	if (colon != text)
		first = strtoull(text, &rest, 10);
	if (colon[1])
		last = strtoull(colon + 1, &rest, 10);
	if (strchr(colon + 1, ':') || first >= last)
		return fg_cli_usage(verb, "--rows %s: want A:B with A < B", text);
	infer->first = first;
	infer->last = last;
	return 0;
}

static int parse_number(const struct fg_cli_verb *verb, int option, const char *text,
			struct infer *infer)
{
	uint64_t value;
	int code;

	switch (option) {
	case 'v':
		return fg_cli_u64(verb, "--version", text, 0, UINT64_MAX, &infer->request.version);
	case 'a':
		return fg_cli_u64(verb, "--affinity", text, 0, UINT64_MAX,
				  &infer->request.affinity);
	case 'b':
		return fg_cli_u64(verb, "--batch", text, 1, MAX_BATCH, &infer->batch);
	case 'D':
		code = fg_cli_u64(verb, "--deadline", text, 0, UINT32_MAX, &value);
		infer->request.deadline_us = (uint32_t)value;
		return code;
	case 't':
		code = fg_cli_u64(verb, "--timeout", text, 1, 3600000, &value);
		infer->options.timeout_ms = (uint32_t)value;
		return code;
	default:
		code = fg_cli_u64(verb, "--retries", text, 0, FG_CLIENT_MAX_RETRIES, &value);
		infer->options.retries = (uint32_t)value;
		return code;
	}
}

/* -1 when the verb goes on, else an exit code. */
static int parse(const struct fg_cli_verb *verb, int argc, char **argv, struct infer *infer)
{
	static const struct option options[] = {
		{"input", required_argument, NULL, 'i'},
		{"header", required_argument, NULL, 'H'},
		{"rows", required_argument, NULL, 'r'},
		{"version", required_argument, NULL, 'v'},
		{"label", required_argument, NULL, 'l'},
		{"affinity", required_argument, NULL, 'a'},
		{"dtype", required_argument, NULL, 'd'},
		{"batch", required_argument, NULL, 'b'},
		{"deadline", required_argument, NULL, 'D'},
		{"timeout", required_argument, NULL, 't'},
		{"retries", required_argument, NULL, 'R'},
		{"socket", required_argument, NULL, 's'},
		FG_CLI_OPTIONS,
	};
	int option, code = 0;

	while (!code && (option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option == 'i') {
			infer->input = optarg;
		} else if (option == 's') {
			infer->socket = optarg;
		} else if (option == 'l') {
			infer->request.label = optarg;
		} else if (option == 'H') {
			if (!fg_csv_parse_header(optarg, &infer->header))
				code = fg_cli_usage(verb, "--header %s: want yes, no or auto",
						    optarg);
		} else if (option == 'r') {
			code = parse_range(verb, optarg, infer);
		} else if (option == 'd') {
			infer->request.dtype = fg_dtype_find(optarg);
			if (fg_dtype_bytes((uint8_t)infer->request.dtype) == 0)
				code = fg_cli_usage(verb, "--dtype %s: no such type", optarg);
		} else if (strchr("vabDtR", option)) {
			code = parse_number(verb, option, optarg, infer);
		} else {
			code = fg_cli_option(verb, option, optarg, &infer->output);
			if (code >= 0)
				return code;
			code = 0;
		}
	}
	if (code)
		return code;
	if (argc - optind != 2)
		return fg_cli_usage(verb, "want ADDRESS and MODEL");
	if (!infer->input)
		return fg_cli_usage(verb, "want --input FILE");
	if (infer->request.label && infer->request.version)
		return fg_cli_usage(verb, "want --version or --label, not both");
	infer->address = argv[optind];
	infer->request.model = argv[optind + 1];
	return -1;
}

static int read_rows(struct infer *infer)
{
	struct fg_matrix *matrix = &infer->matrix;
	struct fg_error error;

	if (fg_matrix_read(matrix, infer->input, infer->header, &error))
		return fg_cli_fail(FG_CLI_BAD_DATA, "%s", error.text);
	if (fg_matrix_convert(matrix, (uint8_t)infer->request.dtype, &error))
		return fg_cli_fail(FG_CLI_BAD_DATA, "%s: %s", infer->input, error.text);
	if (matrix->dims == 1) { /* (n): one row, not n rows of one */
		matrix->cols = (uint32_t)matrix->rows;
		matrix->rows = 1;
	}
	if (infer->first >= matrix->rows)
		return fg_cli_fail(FG_CLI_USAGE, "--rows begins at %zu, but %s has %zu rows",
				   infer->first, infer->input, matrix->rows);
	if (infer->last > matrix->rows)
		infer->last = matrix->rows;
	if (!infer->batch) {
		infer->batch = UNFRAGMENTED / fg_matrix_row_bytes(matrix);
		if (!infer->batch)
			infer->batch = 1;
	}
	return 0;
}

/* Which column of each output is the largest. An output of one column has no such thing. */
static void keep_argmax(struct infer *infer, const float *row)
{
	for (size_t i = 0; i < infer->ports->count; i++) {
		const struct fg_client_port *port = &infer->ports->outputs[i];

		if (port->cols > 1)
			json_array_append_new(json_object_get(infer->argmax, port->name),
					      json_integer(fg_cli_argmax(port, row)));
	}
}

/* The first answer is there: asks what its columns are. Without an answer to that they are one
 * output. */
static void settle_ports(struct infer *infer, struct fg_client *client,
			 const struct fg_client_reply *reply)
{
	const struct fg_client_request request = {.model = infer->request.model,
						  .version = reply->version,
						  .affinity = infer->request.affinity};
	struct fg_client_error error;

	infer->cols = reply->cols;
	fg_cli_ports_ask(infer->ports, client, &request, &error);
	fg_cli_ports_settle(infer->ports, reply->cols);
	for (size_t i = 0; i < infer->ports->count; i++)
		if (infer->ports->outputs[i].cols > 1)
			json_object_set_new(infer->argmax, infer->ports->outputs[i].name,
					    json_array());
}

/* Takes an answer to rows [first, first + reply->rows) into the three lists. */
static void keep(struct infer *infer, size_t first, const struct fg_client_reply *reply,
		 const float *out)
{
	for (uint32_t row = 0; row < reply->rows; row++, out += reply->cols) {
		json_t *values = json_array();

		for (uint32_t col = 0; col < reply->cols; col++) {
			/* JSON has no NaN and no infinity: null. */
			json_t *value = json_real((double)out[col]);

			json_array_append_new(values, value ? value : json_null());
		}
		json_array_append_new(infer->outputs, values);
		keep_argmax(infer, out);
	}
	json_array_append_new(infer->answers,
			      json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "first_row",
					(json_int_t)first, "rows", (json_int_t)reply->rows,
					"version", (json_int_t)reply->version, "generation",
					(json_int_t)reply->generation, "queued_ns",
					(json_int_t)reply->queued_ns, "compute_ns",
					(json_int_t)reply->compute_ns, "round_trip_ns",
					(json_int_t)reply->round_trip_ns, "attempts",
					(json_int_t)reply->attempts));
}

/* Asks for all rows, one request after the other. */
static int ask(struct infer *infer, struct fg_client *client)
{
	size_t row_bytes = fg_matrix_row_bytes(&infer->matrix);
	float *out = malloc(MAX_FLOATS * sizeof(*out));
	struct fg_client_error error;
	struct fg_client_reply reply;
	char why[FG_CLI_WHY_BYTES];
	int code = out ? 0 : fg_cli_fail(FG_CLI_BAD_DATA, "out of memory");

	for (size_t row = infer->first; row < infer->last && !code; row += reply.rows) {
		size_t left = infer->last - row;
		int failed;

		infer->request.rows = (uint32_t)(left < infer->batch ? left : infer->batch);
		infer->request.cols = infer->matrix.cols;
		infer->request.data = (const char *)infer->matrix.data + row * row_bytes;
		failed = fg_client_infer(client, &infer->request, out, MAX_FLOATS, &reply, &error);
		if (failed)
			code = fg_cli_fail(fg_cli_exit_of(failed), "rows %zu to %zu: %s", row,
					   row + infer->request.rows - 1,
					   fg_cli_why(infer->socket, infer->address,
						      infer->request.model, failed, error.text, why,
						      sizeof(why)));
		else if (infer->cols && reply.cols != infer->cols)
			code = fg_cli_fail(FG_CLI_REFUSED,
					   "rows %zu to %zu: version %llu answers with %u columns, "
					   "the version before with %u: ask for one by --version",
					   row, row + infer->request.rows - 1,
					   (unsigned long long)reply.version, reply.cols,
					   infer->cols);
		if (code)
			break;
		if (!infer->cols)
			settle_ports(infer, client, &reply);
		keep(infer, row, &reply, out);
	}
	free(out);
	return code;
}

/* The value that all answers have under `key`, or NULL. Borrowed. */
static json_t *agreed(const struct infer *infer, const char *key)
{
	json_t *first = json_object_get(json_array_get(infer->answers, 0), key), *answer;
	size_t i;

	json_array_foreach(infer->answers, i, answer) if (!json_equal(json_object_get(answer, key),
								      first)) return NULL;
	return first;
}

/* [{"name", "first", "cols", "integer"}] */
static json_t *ports_of(const struct infer *infer)
{
	json_t *list = json_array();

	for (size_t i = 0; i < infer->ports->count; i++) {
		const struct fg_client_port *port = &infer->ports->outputs[i];

		json_array_append_new(list, json_pack("{s:s, s:I, s:I, s:b}", "name", port->name,
						      "first", (json_int_t)port->first, "cols",
						      (json_int_t)port->cols, "integer",
						      (int)port->is_integer));
	}
	return list;
}

static json_t *result_of(const struct infer *infer)
{
	return json_pack("{s:s, s:s, s:O?, s:O?, s:I, s:I, s:o, s:O, s:O, s:O}", "status", "ok",
			 "model", infer->request.model, "version", agreed(infer, "version"),
			 "generation", agreed(infer, "generation"), "rows",
			 (json_int_t)json_array_size(infer->outputs), "cols",
			 (json_int_t)infer->cols, "ports", ports_of(infer), "outputs",
			 infer->outputs, "argmax", infer->argmax, "answers", infer->answers);
}

/* The first of an output's columns, "0.1  0.9  +8 more". */
static void add_values(struct fg_cli_table *table, const struct fg_client_port *port,
		       const json_t *row)
{
	char text[SHOWN_COLUMNS * 16 + 32] = "";
	size_t length = 0;

	for (uint32_t col = 0; col < port->cols && col < SHOWN_COLUMNS; col++) {
		const json_t *value = json_array_get(row, port->first + col);

		length += (size_t)snprintf(text + length, sizeof(text) - length, "%s%-10.6g",
					   col ? "  " : "",
					   json_is_null(value) ? (double)NAN
							       : json_real_value(value));
	}
	if (port->cols > SHOWN_COLUMNS)
		length += (size_t)snprintf(text + length, sizeof(text) - length, "  +%u more",
					   port->cols - SHOWN_COLUMNS);
	while (length && text[length - 1] == ' ')
		text[--length] = 0;
	fg_cli_table_add(table, FG_CLI_PLAIN, "%s", text);
}

/* For each output its values, and before several of them which is the largest. The outputs that are
 * too many for a table are left to --output json. */
static void print_outputs(const struct infer *infer)
{
	const char *names[FG_CLI_TABLE_COLUMNS + 1] = {">row"};
	struct fg_cli_table table;
	size_t columns = 1, shown, i, o;
	json_t *row;

	for (shown = 0; shown < infer->ports->count; shown++) {
		const struct fg_client_port *port = &infer->ports->outputs[shown];

		if (columns + 1 + (port->cols > 1) > FG_CLI_TABLE_COLUMNS)
			break;
		if (port->cols > 1)
			names[columns++] = ">argmax";
		names[columns++] = port->name[0] ? port->name : "outputs";
	}
	names[columns] = NULL;
	fg_cli_table_begin(&table, names);
	json_array_foreach(infer->outputs, i, row)
	{
		fg_cli_table_add(&table, FG_CLI_DIM, "%zu", infer->first + i);
		for (o = 0; o < shown; o++) {
			const struct fg_client_port *port = &infer->ports->outputs[o];
			const json_t *best = json_object_get(infer->argmax, port->name);

			if (port->cols > 1)
				fg_cli_table_add(&table, FG_CLI_BOLD, "%lld",
						 (long long)json_integer_value(
							 json_array_get(best, i)));
			add_values(&table, port, row);
		}
	}
	fg_cli_table_print(&table, stdout);
	if (shown < infer->ports->count)
		printf("  and %zu outputs more: --output json shows all\n",
		       infer->ports->count - shown);
}

static void print_answers(const struct infer *infer)
{
	static const char *const names[] = {"rows",	 ">version",	">generation", ">queued",
					    ">computed", ">round trip", ">attempts",   NULL};
	struct fg_cli_table table;
	json_t *answer;
	size_t i;

	fg_cli_table_begin(&table, names);
	json_array_foreach(infer->answers, i, answer)
	{
		long long first, rows, version, generation, queued, computed, round_trip, attempts;
		char text[16];

		json_unpack(answer, "{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "first_row", &first,
			    "rows", &rows, "version", &version, "generation", &generation,
			    "queued_ns", &queued, "compute_ns", &computed, "round_trip_ns",
			    &round_trip, "attempts", &attempts);
		fg_cli_table_add(&table, FG_CLI_DIM, "%lld:%lld", first, first + rows);
		fg_cli_table_add(&table, FG_CLI_BOLD, "%lld", version);
		fg_cli_table_add(&table, FG_CLI_PLAIN, "%lld", generation);
		fg_cli_table_add(&table, FG_CLI_PLAIN, "%s",
				 fg_cli_duration(text, (double)queued / 1e9));
		fg_cli_table_add(&table, FG_CLI_PLAIN, "%s",
				 fg_cli_duration(text, (double)computed / 1e9));
		fg_cli_table_add(&table, FG_CLI_PLAIN, "%s",
				 fg_cli_duration(text, (double)round_trip / 1e9));
		fg_cli_table_add(&table, attempts > 1 ? FG_CLI_YELLOW : FG_CLI_PLAIN, "%lld",
				 attempts);
	}
	fg_cli_table_print(&table, stdout);
}

static int run(const struct fg_cli_verb *verb, int argc, char **argv)
{
	struct infer infer = {
		.request.dtype = FG_CLIENT_F32,
		.options.retries = 2,
		.last = SIZE_MAX,
		.socket = FG_CLI_SOCKET,
	};
	struct fg_client_error error;
	struct fg_client *client = NULL;
	int code = parse(verb, argc, argv, &infer);

	if (code >= 0)
		return code;
	infer.ports = calloc(1, sizeof(*infer.ports));
	code = infer.ports ? read_rows(&infer) : fg_cli_fail(FG_CLI_BAD_DATA, "out of memory");
	if (code)
		goto out;
	code = fg_cli_exit_of(fg_client_open(&client, infer.address, &infer.options, &error));
	if (code) {
		fg_cli_fail(code, "%s", error.text);
		goto out;
	}
	infer.outputs = json_array();
	infer.argmax = json_object();
	infer.answers = json_array();
	code = ask(&infer, client);
	if (!code && infer.output.json) {
		json_t *result = result_of(&infer);

		json_dumpf(result, stdout, JSON_REAL_PRECISION(9));
		putchar('\n');
		json_decref(result);
	} else if (!code) {
		print_outputs(&infer);
		putchar('\n');
		print_answers(&infer);
	}
out:
	json_decref(infer.outputs);
	json_decref(infer.argmax);
	json_decref(infer.answers);
	fg_client_close(client);
	fg_matrix_free(&infer.matrix);
	free(infer.ports);
	return code;
}

const struct fg_cli_verb fg_cli_infer = {
	.name = "infer",
	.summary = "send rows of a file, print the answers",
	.help = help,
	.run = run,
};
