/* flipgate load: the verb. What it does is cli_load_run.c, what it says cli_load_report.c. */
#include "tools/cli_load.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include "tools/cli_common.h"

static const char help[] =
	"Usage: flipgate load ADDRESS MODEL --input FILE [OPTION]...\n"
	"\n"
	"ADDRESS is HOST:PORT for UDP, tcp://HOST:PORT for TCP.\n"
	"Sends requests on a fixed schedule, whatever the service does, checks the answers and\n"
	"reports losses, wrong answers, flows that saw two versions, and round trips measured "
	"from\n"
	"the time each request was due, apart from and around every flip.\n"
	"\n"
	"What to send:\n"
	"  --input FILE            .npy or text; request i sends row i modulo rows\n"
	"  --header H              is the first line of a text one of names? yes, no, or auto\n"
	"                          (default): if no field of it is a number\n"
	"  --dtype T               f32 (default), or the file's own type: f64, f16, u8, i8\n"
	"  --rows-per-request N    default 1\n"
	"  --rate R                requests per second; default 1000\n"
	"  --duration S            measured seconds; default 10\n"
	"  --warmup S              sent and checked before, but not measured; default 0\n"
	"  --version N             want this version; default: the live one\n"
	"  --label NAME            want the version with this label instead\n"
	"  --deadline US           the server refuses when it cannot answer within this\n"
	"\n"
	"Flows:\n"
	"  --flows F               flows at any time, each on its own socket or connection;\n"
	"                          default 64\n"
	"  --flow-requests K       a flow ends after K requests and a new one begins; default:\n"
	"                          they never end\n"
	"  --affinity[=KEY]        flows are affinity keys from KEY (default: random) upward, "
	"over\n"
	"                          few sockets\n"
	"  --sockets N             of those; default 1\n"
	"  --connections N         over TCP, at any time; default: one per flow. Each is a flow,\n"
	"                          except with --affinity, where the keys share them\n"
	"\n"
	"What to check:\n"
	"  --expect VERSION=FILE   the outputs of VERSION for each row; may be repeated\n"
	"  --tolerance X           largest difference that is right; default 1e-4\n"
	"  --labels FILE           right classes, for the accuracy of each version\n"
	"  --labels-output NAME    the output that tells the class, where the model has several:\n"
	"                          its largest column, or its whole number (flipgate infer shows\n"
	"                          the names)\n"
	"\n"
	"How to measure:\n"
	"  --timeout MS            unanswered for so long is lost; default 1000\n"
	"  --flip-window MS        around a flip, half before and half behind; default 100\n"
	"  --sleep                 sleep between requests instead of spinning: leaves a CPU free,\n"
	"                          and adds a wake-up of tens of microseconds to every round trip\n"
	"  --trace FILE            write every request as a line of CSV\n"
	"  --output FORMAT         text (default) or json\n"
	"\n"
	"Exits with 2 when anything was lost, refused, wrong or mixed, so that scripts can rely "
	"on\n"
	"it; interrupt it to end early, with a report of what was sent.\n"
	"\n"
	"Examples:\n"
	"  flipgate load 10.0.0.1:9000 digits --input inputs.npy --rate 20000 --duration 10 \\\n"
	"      --flows 64 --flow-requests 200 --expect 1=reference_1.npy --expect "
	"2=reference_2.npy\n"
	"  flipgate load 10.0.0.1:9000 digits --input inputs.npy --affinity --output json\n"
	"  flipgate load tcp://10.0.0.1:9000 digits --input inputs.npy --connections 16\n";

struct command {
	struct fg_load_config config;
	const char *input, *labels, *trace;
	const char *expects[FG_LOAD_MAX_EXPECTS]; /* files; their versions are in config */
	enum fg_csv_header header;		  /* of all of them */
	uint8_t dtype;
	bool affinity, has_key;
	uint64_t sockets, connections; /* 0: not said */
	struct fg_cli_output output;
};

static volatile sig_atomic_t interrupted;

static void interrupt(int signal_number)
{
	(void)signal_number;
	interrupted = 1;
}

static int parse_expect(const struct fg_cli_verb *verb, const char *text, struct command *command)
{
	struct fg_load_config *config = &command->config;
	const char *equals = strchr(text, '=');
	char number[24];

	if (!equals || equals == text || (size_t)(equals - text) >= sizeof(number))
		return fg_cli_usage(verb, "--expect %s: want VERSION=FILE", text);
	if (config->expect_count == FG_LOAD_MAX_EXPECTS)
		return fg_cli_usage(verb, "--expect: at most %d", FG_LOAD_MAX_EXPECTS);
	memcpy(number, text, (size_t)(equals - text));
	number[equals - text] = 0;
	command->expects[config->expect_count] = equals + 1;
	return fg_cli_u64(verb, "--expect", number, 1, UINT64_MAX,
			  &config->expects[config->expect_count++].version);
}

static int parse_u32(const struct fg_cli_verb *verb, const char *option, const char *text,
		     uint64_t low, uint64_t high, uint32_t *to)
{
	uint64_t value;
	int code = fg_cli_u64(verb, option, text, low, high, &value);

	*to = (uint32_t)value;
	return code;
}

/* A duration in units of `unit_ns`. */
static int parse_time(const struct fg_cli_verb *verb, const char *option, const char *text,
		      double low, double high, double unit_ns, uint64_t *to_ns)
{
	double value;
	int code = fg_cli_double(verb, option, text, low, high, &value);

	if (!code)
		*to_ns = (uint64_t)(value * unit_ns);
	return code;
}

enum {
	OPT_INPUT = 256,
	OPT_HEADER,
	OPT_DTYPE,
	OPT_ROWS,
	OPT_RATE,
	OPT_DURATION,
	OPT_WARMUP,
	OPT_VERSION,
	OPT_DEADLINE,
	OPT_FLOWS,
	OPT_FLOW_REQUESTS,
	OPT_AFFINITY,
	OPT_SOCKETS,
	OPT_CONNECTIONS,
	OPT_LABEL,
	OPT_EXPECT,
	OPT_TOLERANCE,
	OPT_LABELS,
	OPT_LABELS_OUTPUT,
	OPT_TIMEOUT,
	OPT_FLIP_WINDOW,
	OPT_SLEEP,
	OPT_TRACE,
};

static const struct option options[] = {
	{"input", required_argument, NULL, OPT_INPUT},
	{"header", required_argument, NULL, OPT_HEADER},
	{"dtype", required_argument, NULL, OPT_DTYPE},
	{"rows-per-request", required_argument, NULL, OPT_ROWS},
	{"rate", required_argument, NULL, OPT_RATE},
	{"duration", required_argument, NULL, OPT_DURATION},
	{"warmup", required_argument, NULL, OPT_WARMUP},
	{"version", required_argument, NULL, OPT_VERSION},
	{"deadline", required_argument, NULL, OPT_DEADLINE},
	{"flows", required_argument, NULL, OPT_FLOWS},
	{"flow-requests", required_argument, NULL, OPT_FLOW_REQUESTS},
	{"affinity", optional_argument, NULL, OPT_AFFINITY},
	{"sockets", required_argument, NULL, OPT_SOCKETS},
	{"connections", required_argument, NULL, OPT_CONNECTIONS},
	{"label", required_argument, NULL, OPT_LABEL},
	{"expect", required_argument, NULL, OPT_EXPECT},
	{"tolerance", required_argument, NULL, OPT_TOLERANCE},
	{"labels", required_argument, NULL, OPT_LABELS},
	{"labels-output", required_argument, NULL, OPT_LABELS_OUTPUT},
	{"timeout", required_argument, NULL, OPT_TIMEOUT},
	{"flip-window", required_argument, NULL, OPT_FLIP_WINDOW},
	{"sleep", no_argument, NULL, OPT_SLEEP},
	{"trace", required_argument, NULL, OPT_TRACE},
	FG_CLI_OPTIONS,
};

static int parse_flows(const struct fg_cli_verb *verb, int option, const char *text,
		       struct command *command)
{
	struct fg_load_config *config = &command->config;

	switch (option) {
	case OPT_FLOWS:
		return parse_u32(verb, "--flows", text, 1, FG_LOAD_MAX_FLOWS, &config->flows);
	case OPT_FLOW_REQUESTS:
		return parse_u32(verb, "--flow-requests", text, 1, UINT32_MAX,
				 &config->flow_requests);
	case OPT_SOCKETS:
		return fg_cli_u64(verb, "--sockets", text, 1, 65536, &command->sockets);
	case OPT_CONNECTIONS:
		return fg_cli_u64(verb, "--connections", text, 1, FG_LOAD_MAX_FLOWS,
				  &command->connections);
	default:
		command->affinity = true;
		command->has_key = text;
		return text ? fg_cli_u64(verb, "--affinity", text, 1, UINT64_MAX,
					 &config->first_key)
			    : 0;
	}
}

static int parse_timing(const struct fg_cli_verb *verb, int option, const char *text,
			struct fg_load_config *config)
{
	switch (option) {
	case OPT_RATE:
		return fg_cli_double(verb, "--rate", text, 0.01, 1e7, &config->rate);
	case OPT_DURATION:
		return parse_time(verb, "--duration", text, 0.001, 1e6, 1e9, &config->duration_ns);
	case OPT_WARMUP:
		return parse_time(verb, "--warmup", text, 0, 1e6, 1e9, &config->warmup_ns);
	case OPT_TIMEOUT:
		return parse_time(verb, "--timeout", text, 0.1, 1e6, 1e6, &config->timeout_ns);
	default:
		return parse_time(verb, "--flip-window", text, 0.001, 1e6, 1e6,
				  &config->flip_window_ns);
	}
}

/* -1: not one of these; else as the functions above. */
static int parse_rest(const struct fg_cli_verb *verb, int option, const char *text,
		      struct command *command)
{
	struct fg_load_config *config = &command->config;

	switch (option) {
	case OPT_INPUT:
		command->input = text;
		return 0;
	case OPT_HEADER:
		if (!fg_csv_parse_header(text, &command->header))
			return fg_cli_usage(verb, "--header %s: want yes, no or auto", text);
		return 0;
	case OPT_LABELS:
		command->labels = text;
		return 0;
	case OPT_LABELS_OUTPUT:
		config->labels_output = text;
		return 0;
	case OPT_LABEL:
		config->label = text;
		return 0;
	case OPT_TRACE:
		command->trace = text;
		return 0;
	case OPT_SLEEP:
		config->sleep = true;
		return 0;
	case OPT_DTYPE:
		command->dtype = fg_dtype_find(text);
		if (fg_dtype_bytes(command->dtype) == 0)
			return fg_cli_usage(verb, "--dtype %s: no such type", text);
		return 0;
	case OPT_ROWS:
		return parse_u32(verb, "--rows-per-request", text, 1, 65536,
				 &config->rows_per_request);
	case OPT_DEADLINE:
		return parse_u32(verb, "--deadline", text, 0, UINT32_MAX, &config->deadline_us);
	case OPT_VERSION:
		return fg_cli_u64(verb, "--version", text, 0, UINT64_MAX, &config->version);
	case OPT_TOLERANCE:
		return fg_cli_double(verb, "--tolerance", text, 0, 1e300, &config->tolerance);
	case OPT_EXPECT:
		return parse_expect(verb, text, command);
	default:
		return -1;
	}
}

static int parse_option(const struct fg_cli_verb *verb, int option, const char *text,
			struct command *command)
{
	switch (option) {
	case OPT_FLOWS:
	case OPT_FLOW_REQUESTS:
	case OPT_SOCKETS:
	case OPT_CONNECTIONS:
	case OPT_AFFINITY:
		return parse_flows(verb, option, text, command);
	case OPT_RATE:
	case OPT_DURATION:
	case OPT_WARMUP:
	case OPT_TIMEOUT:
	case OPT_FLIP_WINDOW:
		return parse_timing(verb, option, text, &command->config);
	default:
		return parse_rest(verb, option, text, command);
	}
}

/* What flows are, and what carries them. -1 when the verb goes on, else an exit code. */
static int settle_flows(const struct fg_cli_verb *verb, struct command *command)
{
	struct fg_load_config *config = &command->config;
	bool is_stream = strncmp(config->address, "tcp://", 6) == 0;

	if (command->sockets && (is_stream || !command->affinity))
		return fg_cli_usage(verb, "--sockets goes with --affinity and UDP; %s",
				    is_stream ? "for TCP --connections"
					      : "without it every flow has its own");
	if (command->connections && !is_stream)
		return fg_cli_usage(verb, "--connections goes with tcp://HOST:PORT");
	if (command->affinity) {
		uint64_t sockets = is_stream ? command->connections : command->sockets;

		if (sockets == 0)
			sockets = is_stream ? config->flows : 1;
		config->sockets = sockets < config->flows ? (uint32_t)sockets : config->flows;
	} else if (command->connections) {
		config->flows = (uint32_t)command->connections;
	}
	/* Keys of two runs must not be one flow: begin anywhere, with room above. */
	if (command->affinity && !command->has_key &&
	    getrandom(&config->first_key, sizeof(config->first_key), 0) > 0)
		config->first_key = config->first_key >> 1 | 1;
	return -1;
}

/* -1 when the verb goes on, else an exit code. */
static int parse(const struct fg_cli_verb *verb, int argc, char **argv, struct command *command)
{
	struct fg_load_config *config = &command->config;
	int option, code;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		code = parse_option(verb, option, optarg, command);
		if (code < 0) {
			code = fg_cli_option(verb, option, optarg, &command->output);
			if (code >= 0)
				return code;
		} else if (code) {
			return code;
		}
	}
	if (argc - optind != 2)
		return fg_cli_usage(verb, "want ADDRESS and MODEL");
	if (!command->input)
		return fg_cli_usage(verb, "want --input FILE");
	config->address = argv[optind];
	config->model = argv[optind + 1];
	if (config->label && config->version)
		return fg_cli_usage(verb, "want --version or --label, not both");
	return settle_flows(verb, command);
}

static int read_files(struct command *command)
{
	struct fg_load_config *config = &command->config;
	struct fg_error error;

	if (fg_matrix_read(&config->input, command->input, command->header, &error))
		return fg_cli_fail(FG_CLI_BAD_DATA, "%s", error.text);
	if (fg_matrix_convert(&config->input, command->dtype, &error))
		return fg_cli_fail(FG_CLI_BAD_DATA, "%s: %s", command->input, error.text);
	for (uint32_t e = 0; e < config->expect_count; e++)
		if (fg_matrix_read(&config->expects[e].outputs, command->expects[e],
				   command->header, &error))
			return fg_cli_fail(FG_CLI_BAD_DATA, "%s", error.text);
	if (command->labels &&
	    fg_matrix_read(&config->labels, command->labels, command->header, &error))
		return fg_cli_fail(FG_CLI_BAD_DATA, "%s", error.text);
	return 0;
}

static bool is_clean(const json_t *report)
{
	static const char *const keys[] = {"lost", "not_sent", "mixed_version_flows",
					   "wrong_outputs"};

	for (size_t k = 0; k < sizeof(keys) / sizeof(keys[0]); k++)
		if (json_integer_value(json_object_get(report, keys[k])))
			return false;
	return json_object_size(json_object_get(report, "errors")) == 0 &&
	       json_integer_value(json_object_get(report, "replies"));
}

static int show(const struct command *command, const struct fg_load *load)
{
	json_t *report = fg_load_report(load);
	int code = 0, failed;

	if (!report)
		return fg_cli_fail(FG_CLI_BAD_DATA, "out of memory");
	if (command->output.json) {
		json_dumpf(report, stdout, JSON_REAL_PRECISION(12));
		putchar('\n');
	} else {
		fg_load_print(report, stdout);
	}
	failed = command->trace ? fg_load_trace(load, command->trace) : 0;
	if (failed)
		code = fg_cli_fail(FG_CLI_BAD_DATA, "%s: %s", command->trace, strerror(-failed));
	else if (!is_clean(report))
		code = FG_CLI_REFUSED;
	json_decref(report);
	return code;
}

static int run(const struct fg_cli_verb *verb, int argc, char **argv)
{
	struct command command = {
		.dtype = FG_DTYPE_F32,
		.config = {.rate = 1000,
			   .duration_ns = 10000000000ull,
			   .timeout_ns = 1000000000ull,
			   .flip_window_ns = 100000000ull,
			   .flows = 64,
			   .rows_per_request = 1,
			   .tolerance = 1e-4,
			   .stop = &interrupted},
	};
	struct sigaction action = {.sa_handler = interrupt};
	struct fg_error error;
	struct fg_load load;
	int code = parse(verb, argc, argv, &command), failed;

	if (code >= 0)
		return code;
	code = read_files(&command);
	if (code)
		goto out;
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	failed = fg_load_run(&load, &command.config, &error);
	if (failed) {
		code = fg_cli_fail(fg_cli_exit_of(failed), "%s", error.text);
	} else {
		code = show(&command, &load);
		fg_load_free(&load);
	}
out:
	fg_matrix_free(&command.config.input);
	fg_matrix_free(&command.config.labels);
	for (uint32_t e = 0; e < command.config.expect_count; e++)
		fg_matrix_free(&command.config.expects[e].outputs);
	return code;
}

const struct fg_cli_verb fg_cli_load = {
	.name = "load",
	.summary = "send requests on a schedule, check and time the answers",
	.help = help,
	.run = run,
};
