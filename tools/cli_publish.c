/* flipgate publish: model versions into the gateway's repository, whole or not at all. */
#include "tools/cli_common.h"

#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "tools/cli_control.h"
#include "tools/cli_json.h"
#include "tools/cli_plan.h"
#include "tools/cli_publish_copy.h"
#include "tools/cli_publish_wait.h"

#define MAX_MODELS 32
#define TIMEOUT_MS 5000
#define WAIT_MS	   60000

static const char help[] =
	"Usage: flipgate publish DIR MODEL [VERSION] [--also DIR=MODEL[/VERSION]]... [OPTION]...\n"
	"\n"
	"Copies the folder DIR (or one model file: .onnx, .h5, .keras) into the repository as\n"
	"MODEL/VERSION: under a hidden name first, fsynced, read back and compared, packed as a\n"
	"check, then renamed. So the gateway sees all of it or nothing. Several models are "
	"renamed\n"
	"together when all of them are good, and go live together. Only a kill -9 or a power cut\n"
	"between two of these renames leaves some in place without the others: the same again,\n"
	"with their numbers, adds those.\n"
	"\n"
	"VERSION is one above the highest that is there, unless said; the highest itself where "
	"that\n"
	"holds the same files. A version that is there is never changed: the same files again "
	"are\n"
	"fine, others are refused.\n"
	"\n"
	"  --also DIR=MODEL[/VERSION]  another one, up to 32 in all\n"
	"  --repository BASE     default: that of the running gateway\n"
	"  --no-check            do not run flipgate-pack on it\n"
	"  --force               another version also where the highest holds the same files\n"
	"  --wait[=TIME]         return when it is live, or ready where the policy is manual, or "
	"has\n"
	"                        failed; default 60s. Without: as soon as it can be promoted\n"
	"  --expect-current N    only if generation N is the live one, else exit with 7\n"
	"  --socket PATH         control socket; default " FG_CLI_SOCKET "\n"
	"  --output FORMAT       text (default) or json\n"
	"\n"
	"Examples:\n"
	"  flipgate publish build/digits digits --wait\n"
	"  flipgate publish model.onnx digits 7 --repository /srv/models\n"
	"  flipgate publish out/score score --also out/limits=limits --wait=2m\n";

struct command {
	const struct fg_cli_verb *verb;
	struct fg_publish *list; /* MAX_MODELS, because they are large */
	unsigned count;
	unsigned prepared;	/* so many need fg_publish_drop */
	const char *repository; /* NULL: ask */
	const char *socket;
	uint64_t expect;  /* 0: any */
	uint64_t wait_ms; /* 0: do not wait */
	bool no_check, force;
	struct fg_cli_output output;
};

static volatile sig_atomic_t stop;

static void interrupt(int signal_number)
{
	(void)signal_number;
	stop = 1;
}

/* ---- the command line ---- */

static int add_model(struct command *command, const char *source, const char *model,
		     const char *version)
{
	struct fg_publish *publish = &command->list[command->count];
	const struct fg_cli_verb *verb = command->verb;

	if (command->count == MAX_MODELS)
		return fg_cli_usage(verb, "more than %d models", MAX_MODELS);
	if (!*source)
		return fg_cli_usage(verb, "model %s comes from nowhere: want a folder or file",
				    model);
	if (!fg_publish_valid_model(model))
		return fg_cli_usage(verb,
				    "'%s' is no model's name: want 1 to 63 of A-Z a-z 0-9 _ . - "
				    "and no leading dot",
				    model);
	for (unsigned i = 0; i < command->count; i++)
		if (strcmp(command->list[i].model, model) == 0)
			return fg_cli_usage(verb, "model %s is named twice", model);
	if (version && fg_cli_u64(verb, "VERSION", version, 1, INT64_MAX, &publish->version))
		return FG_CLI_USAGE;
	publish->source = source;
	snprintf(publish->model, sizeof(publish->model), "%s", model);
	command->count++;
	return 0;
}

/* "DIR=MODEL" or "DIR=MODEL/VERSION"; DIR may hold a '='. Cuts `text`, which the names stay in. */
static int add_also(struct command *command, char *text)
{
	char *model = strrchr(text, '='), *version;

	if (!model)
		return fg_cli_usage(command->verb, "--also %s: want DIR=MODEL or DIR=MODEL/VERSION",
				    text);
	*model++ = 0;
	version = strchr(model, '/');
	if (version)
		*version++ = 0;
	return add_model(command, text, model, version);
}

static int set_wait(struct command *command, const char *value)
{
	command->wait_ms = WAIT_MS;
	return value ? fg_cli_time(command->verb, "--wait", value, 1, 86400000, &command->wait_ms)
		     : 0;
}

/* -1 when the verb goes on, else an exit code. */
static int one_option(struct command *command, int option, char *value)
{
	int code = 0;

	switch (option) {
	case 'a':
		code = add_also(command, value);
		break;
	case 'r':
		command->repository = value;
		break;
	case 'c':
		command->no_check = true;
		break;
	case 'f':
		command->force = true;
		break;
	case 'w':
		code = set_wait(command, value);
		break;
	case 'e':
		code = fg_cli_u64(command->verb, "--expect-current", value, 1, UINT32_MAX,
				  &command->expect);
		break;
	case 's':
		command->socket = value;
		break;
	default:
		return fg_cli_option(command->verb, option, value, &command->output);
	}
	return code ? code : -1;
}

/* The one that has no --also is the first to be told of. */
static void swap(struct fg_publish *one, struct fg_publish *other)
{
	struct fg_publish third = *one;

	*one = *other;
	*other = third;
}

static int parse(struct command *command, int argc, char **argv)
{
	static const struct option options[] = {
		{"also", required_argument, NULL, 'a'},
		{"repository", required_argument, NULL, 'r'},
		{"no-check", no_argument, NULL, 'c'},
		{"force", no_argument, NULL, 'f'},
		{"wait", optional_argument, NULL, 'w'},
		{"expect-current", required_argument, NULL, 'e'},
		{"socket", required_argument, NULL, 's'},
		FG_CLI_OPTIONS,
	};
	int option, code = -1, operands;

	while (code < 0 && (option = getopt_long(argc, argv, "", options, NULL)) != -1)
		code = one_option(command, option, optarg);
	if (code >= 0)
		return code;
	operands = argc - optind;
	if (operands < 2 || operands > 3)
		return fg_cli_usage(command->verb, "want DIR, MODEL and perhaps VERSION");
	if (add_model(command, argv[optind], argv[optind + 1],
		      operands == 3 ? argv[optind + 2] : NULL))
		return FG_CLI_USAGE;
	swap(&command->list[0], &command->list[command->count - 1]);
	return -1;
}

/* ---- refusing ---- */

/* Prints it on stderr, and as JSON where that is asked for. Returns the exit code. */
static int refuse(const struct command *command, enum fg_cli_exit code, const char *name,
		  const char *text)
{
	json_t *reply;

	if (command->output.json) {
		reply = json_pack("{s:b, s:s, s:s%}", "ok", 0, "code", name, "error", text,
				  strlen(text));
		fg_cli_control_print(reply);
		json_decref(reply);
	}
	return fg_cli_fail(code, "%s", text);
}

/* After a call that may have been interrupted. */
static int refuse_error(const struct command *command, enum fg_cli_exit code,
			const struct fg_error *error)
{
	if (stop)
		return refuse(command, FG_CLI_TIMEOUT, "interrupted",
			      "interrupted: nothing was published");
	return refuse(command, code, code == FG_CLI_BAD_DATA ? "bad_data" : "failed", error->text);
}

/* ---- where to ---- */

static int ask_status(const struct command *command, json_t **status)
{
	struct fg_error error;
	int code = fg_cli_control_try(command->socket, json_pack("{s:s}", "verb", "status"),
				      TIMEOUT_MS, status, &error);

	return code ? refuse(command, (enum fg_cli_exit)code, "unreachable", error.text) : 0;
}

static int check_expected(const struct command *command)
{
	struct fg_error error;
	long long live;
	json_t *status;
	int code;

	if (!command->expect)
		return 0;
	code = ask_status(command, &status);
	if (code)
		return code;
	live = fg_publish_generation(status);
	json_decref(status);
	if (live == (long long)command->expect)
		return 0;
	fg_error_set(&error, 0, "generation %lld is live, not %" PRIu64 ": nothing was published",
		     live, command->expect);
	return refuse(command, FG_CLI_CONFLICT, "conflict", error.text);
}

/* BASE/MODEL, or the folder that the gateway's configuration gives the model. */
static int find_folder(const struct command *command, const json_t *rules,
		       struct fg_publish *publish)
{
	const json_t *model =
		fg_cli_find(json_object_get(rules, "models"), "model", publish->model);
	const char *base =
		command->repository ? command->repository : fg_cli_text_of(rules, "repository");
	const char *path = command->repository ? "" : fg_cli_text_of(model, "path");
	struct fg_error error;
	int length;

	if (!*base && !*path) {
		fg_error_set(&error, 0,
			     json_is_object(rules)
				     ? "the gateway serves only the models that its configuration "
				       "names, and %s is not one; --repository says where else to "
				       "publish"
				     : "the gateway does not say where the versions of %s lie; "
				       "--repository says it",
			     publish->model);
		return refuse(command, FG_CLI_REFUSED, "not_found", error.text);
	}
	length = *path ? snprintf(publish->folder, sizeof(publish->folder), "%s", path)
		       : snprintf(publish->folder, sizeof(publish->folder), "%s/%s", base,
				  publish->model);
	if (length < (int)sizeof(publish->folder))
		return 0;
	return refuse(command, FG_CLI_USAGE, "bad_request", "--repository: too long a path");
}

static int find_folders(struct command *command)
{
	json_t *status = NULL;
	struct fg_error error;
	struct stat info;
	int code = 0;

	if (!command->repository) {
		code = ask_status(command, &status);
		if (code) {
			fg_cli_fail((enum fg_cli_exit)code,
				    "without a gateway, --repository says where to publish");
			return code;
		}
	} else if (stat(command->repository, &info) || !S_ISDIR(info.st_mode)) {
		fg_error_set(&error, 0, "--repository %.180s: no such folder", command->repository);
		return refuse(command, FG_CLI_REFUSED, "failed", error.text);
	}
	for (unsigned i = 0; i < command->count && !code; i++)
		code = find_folder(command, json_object_get(status, "rules"), &command->list[i]);
	json_decref(status);
	return code;
}

/* ---- publishing ---- */

/* Copies one, and packs the copy: what is checked is what will be served. */
static int prepare(struct command *command, struct fg_publish *publish)
{
	struct fg_cli_plan plan;
	struct fg_error error;
	int result;

	command->prepared++;
	publish->force = command->force;
	result = fg_publish_prepare(publish, &stop, &error);
	if (result)
		return refuse_error(command,
				    publish->tree.at_fault ? FG_CLI_BAD_DATA : FG_CLI_REFUSED,
				    &error);
	if (publish->exists || command->no_check)
		return 0;
	result = fg_cli_plan_pack(&plan, publish->temporary, publish->source, NULL, &error);
	fg_cli_plan_close(&plan);
	return result || stop ? refuse_error(command, FG_CLI_BAD_DATA, &error) : 0;
}

static int publish_all(struct command *command)
{
	struct fg_error error;
	int code = check_expected(command);

	for (unsigned i = 0; i < command->count && !code; i++)
		code = prepare(command, &command->list[i]);
	if (!code)
		code = check_expected(command);
	if (!code && stop)
		code = refuse_error(command, FG_CLI_TIMEOUT, &error);
	if (!code && fg_publish_commit(command->list, command->count, &error))
		code = refuse(command, FG_CLI_REFUSED, "failed", error.text);
	return code;
}

static size_t count_files(const struct fg_publish *publish)
{
	size_t files = 0;

	for (size_t i = 0; i < publish->tree.count; i++)
		files += !publish->tree.entries[i].is_folder;
	return files;
}

static void print_published(const struct fg_publish *publish)
{
	size_t files = count_files(publish);
	char bytes[16];

	printf("%s%s version %" PRIu64 "%s %s: %zu file%s, %s, in %s/%" PRIu64 "\n",
	       fg_cli_style(FG_CLI_BOLD), publish->model, publish->version,
	       fg_cli_style(FG_CLI_PLAIN),
	       publish->exists ? "was there already, the same" : "is in place", files,
	       files == 1 ? "" : "s", fg_cli_bytes(bytes, (double)publish->tree.bytes),
	       publish->folder, publish->version);
}

static json_t *describe(const struct command *command)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < command->count; i++) {
		const struct fg_publish *publish = &command->list[i];

		json_array_append_new(list, json_pack("{s:s, s:I, s:s, s:I, s:I, s:b}", "model",
						      publish->model, "version",
						      (json_int_t)publish->version, "folder",
						      publish->folder, "files",
						      (json_int_t)count_files(publish), "bytes",
						      (json_int_t)publish->tree.bytes, "changed",
						      !publish->exists));
	}
	return json_pack("{s:b, s:o}", "ok", 1, "published", list);
}

static const char *code_name(int code)
{
	if (code == FG_CLI_TIMEOUT)
		return stop ? "interrupted" : "timeout";
	return code == FG_CLI_UNREACHABLE ? "unreachable" : "failed";
}

/* Waits if it shall, and says what was done. */
static int finish(const struct command *command)
{
	struct fg_publish_outcome outcome = {0};
	struct fg_error error;
	json_t *reply;
	int code = 0;

	for (unsigned i = 0; i < command->count && !command->output.json; i++)
		print_published(&command->list[i]);
	fflush(stdout);
	if (command->wait_ms)
		code = fg_publish_wait(command->list, command->count, command->socket,
				       command->wait_ms, &stop, &outcome, &error);
	else if (!command->repository &&
		 fg_publish_seen(command->list, command->count, command->socket, &stop, &error))
		fg_cli_fail(FG_CLI_OK, "%s", error.text);
	if (command->output.json) {
		reply = describe(command);
		json_object_set_new(reply, "ok", json_boolean(!code));
		if (code) {
			json_object_set_new(reply, "code", json_string(code_name(code)));
			json_object_set_new(reply, "error", json_string(error.text));
		} else if (command->wait_ms) {
			json_object_set_new(reply, "live", json_boolean(outcome.live));
			json_object_set_new(reply, "generation", json_integer(outcome.generation));
		}
		fg_cli_control_print(reply);
		json_decref(reply);
	} else if (command->wait_ms && !code && outcome.live) {
		printf("%slive%s in generation %lld\n", fg_cli_style(FG_CLI_GREEN),
		       fg_cli_style(FG_CLI_PLAIN), outcome.generation);
	} else if (command->wait_ms && !code) {
		printf("ready: %s\n", outcome.ready.text);
	}
	return code ? fg_cli_fail((enum fg_cli_exit)code, "%s", error.text) : 0;
}

static int run(const struct fg_cli_verb *verb, int argc, char **argv)
{
	struct sigaction action = {.sa_handler = interrupt}; /* no SA_RESTART: calls return */
	struct command command = {.verb = verb, .socket = FG_CLI_SOCKET};
	int code;

	umask(022); /* packer and workers read the copies as another user */
	command.list = calloc(MAX_MODELS, sizeof(*command.list));
	if (!command.list)
		return fg_cli_fail(FG_CLI_BAD_DATA, "out of memory");
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGHUP, &action, NULL);
	code = parse(&command, argc, argv);
	if (code >= 0)
		goto out;
	code = find_folders(&command);
	if (!code)
		code = publish_all(&command);
	if (!code)
		code = finish(&command);
	for (unsigned i = 0; i < command.prepared; i++)
		fg_publish_drop(&command.list[i]);
out:
	free(command.list);
	return code;
}

const struct fg_cli_verb fg_cli_publish = {
	.name = "publish",
	.summary = "put model versions into the repository, checked, all or nothing",
	.help = help,
	.run = run,
};
