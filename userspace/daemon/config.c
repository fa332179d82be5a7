#include "userspace/daemon/config.h"

#include <arpa/inet.h>
#include <cyaml/cyaml.h>
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <pwd.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

/*
 * One table of options serves flags, file and help. A value is text until its setter has read it,
 * so a flag and a line of the file mean the same and fail with the same words.
 */
static int bad(struct fg_error *error, const char *value, const char *wanted)
{
	return fg_error_set(error, -EINVAL, "\"%s\" is not %s", value, wanted);
}

static int set_text(char *to, size_t size, const char *value, struct fg_error *error)
{
	if (!*value || strlen(value) >= size)
		return bad(error, value, *value ? "short enough" : "a value");
	strcpy(to, value);
	return 0;
}

static int set_number(uint32_t *to, const char *value, uint32_t low, uint32_t high,
		      struct fg_error *error)
{
	char *end, wanted[64];
	unsigned long number;

	errno = 0;
	number = strtoul(value, &end, 10);
	snprintf(wanted, sizeof(wanted), "a number from %u to %u", low, high);
	if (errno || end == value || *end || *value == '-' || number < low || number > high)
		return bad(error, value, wanted);
	*to = number;
	return 0;
}

/* "250ms", "1.5s", "2m" */
static int set_duration_ms(uint32_t *to, const char *value, double high_ms, struct fg_error *error)
{
	char *end;
	double number = strtod(value, &end);
	double scale = !strcmp(end, "ms")  ? 1
		       : !strcmp(end, "s") ? 1000
		       : !strcmp(end, "m") ? 60000
					   : 0;

	if (end == value || !scale || !(number >= 0) || number * scale > high_ms)
		return bad(error, value, "a duration such as 250ms, 1.5s or 2m within bounds");
	*to = number * scale;
	return 0;
}

static int set_choice(uint32_t *to, const char *value, const char *const *choices,
		      const char *wanted, struct fg_error *error)
{
	for (uint32_t i = 0; choices[i]; i++) {
		if (!strcmp(value, choices[i])) {
			*to = i;
			return 0;
		}
	}
	return bad(error, value, wanted);
}

static int parse_ip(const char *text, struct sockaddr_storage *address)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)address;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)address;

	memset(address, 0, sizeof(*address));
	if (inet_pton(AF_INET, text, &v4->sin_addr) == 1)
		address->ss_family = AF_INET;
	else if (inet_pton(AF_INET6, text, &v6->sin6_addr) == 1)
		address->ss_family = AF_INET6;
	else
		return -EINVAL;
	return 0;
}

static int parse_address(const char *value, struct sockaddr_storage *address)
{
	const char *colon = strrchr(value, ':');
	char host[64], *end;
	unsigned long port;
	size_t length;

	if (!colon || colon == value)
		return -EINVAL;
	length = colon - value;
	if (value[0] == '[') {
		if (colon[-1] != ']' || length < 3)
			return -EINVAL;
		value++;
		length -= 2;
	}
	if (length >= sizeof(host))
		return -EINVAL;
	memcpy(host, value, length);
	host[length] = '\0';
	port = strtoul(colon + 1, &end, 10);
	if (end == colon + 1 || *end || !port || port > 65535 || parse_ip(host, address))
		return -EINVAL;
	if (address->ss_family == AF_INET)
		((struct sockaddr_in *)address)->sin_port = htons(port);
	else
		((struct sockaddr_in6 *)address)->sin6_port = htons(port);
	return 0;
}

static int set_listen(struct fg_config *config, const char *value, struct fg_error *error)
{
	if (config->listen_count == FG_MAX_LISTENERS)
		return fg_error_set(error, -E2BIG, "more than %d addresses", FG_MAX_LISTENERS);
	if (parse_address(value, &config->listen[config->listen_count]))
		return bad(error, value, "an address such as 10.0.0.1:9000 or [fd00::1]:9000");
	config->listen_count++;
	return 0;
}

/* "allow 10.0.0.0/8", "deny fd00::/16" */
static int set_acl(struct fg_config *config, const char *value, struct fg_error *error)
{
	struct fg_config_acl *acl = &config->acl[config->acl_count];
	const char *wanted = "a rule such as \"deny 10.1.0.0/16\" or \"allow fd00::/8\"";
	char action[8], prefix[64];
	uint32_t bits, most;
	char *slash;

	if (config->acl_count == FG_CONFIG_MAX_ACL)
		return fg_error_set(error, -E2BIG, "more than %d rules", FG_CONFIG_MAX_ACL);
	if (sscanf(value, "%7s %63s", action, prefix) != 2 ||
	    (strcmp(action, "allow") && strcmp(action, "deny")))
		return bad(error, value, wanted);
	slash = strchr(prefix, '/');
	if (slash)
		*slash = '\0';
	if (parse_ip(prefix, &acl->address))
		return bad(error, value, wanted);
	most = acl->address.ss_family == AF_INET ? 32 : 128;
	bits = most;
	if (slash && set_number(&bits, slash + 1, 0, most, NULL))
		return bad(error, value, wanted);
	acl->bits = bits;
	acl->action = strcmp(action, "deny") ? FG_ACL_ALLOW : FG_ACL_DENY;
	config->acl_count++;
	return 0;
}

/* "1", "2,3", "4-7" */
static int set_cpus(struct fg_config *config, const char *value, struct fg_error *error)
{
	const char *at = value, *wanted = "a list of CPUs of this host such as 1, 2,3 or 4-7";
	cpu_set_t allowed;

	sched_getaffinity(0, sizeof(allowed), &allowed);
	config->worker_count = 0;
	do {
		char *end;
		long first = strtol(at, &end, 10), last = first;

		if (end == at || first < 0)
			return bad(error, value, wanted);
		at = end;
		if (*at == '-') {
			last = strtol(at + 1, &end, 10);
			if (end == at + 1 || last < first)
				return bad(error, value, wanted);
			at = end;
		}
		for (; first <= last; first++) {
			if (first >= CPU_SETSIZE || !CPU_ISSET(first, &allowed))
				return bad(error, value, wanted);
			if (config->worker_count == FG_ROLLOUT_MAX_WORKERS)
				return fg_error_set(error, -E2BIG, "more than %d workers",
						    FG_ROLLOUT_MAX_WORKERS);
			config->worker_cpus[config->worker_count++] = first;
		}
	} while (*at++ == ',');
	return at[-1] ? bad(error, value, wanted) : 0;
}

static int set_repository(struct fg_config *config, const char *value, struct fg_error *error)
{
	char resolved[PATH_MAX];

	if (!realpath(value, resolved))
		return fg_error_set(error, -errno, "%s: %s", value, strerror(errno));
	return set_text(config->repository, sizeof(config->repository), resolved, error);
}

#define TEXT_SETTER(field)                                                                         \
	static int set_##field(struct fg_config *config, const char *value,                        \
			       struct fg_error *error)                                             \
	{                                                                                          \
		return set_text(config->field, sizeof(config->field), value, error);               \
	}
TEXT_SETTER(name)
TEXT_SETTER(interface)
TEXT_SETTER(user)
TEXT_SETTER(socket)
TEXT_SETTER(pin_dir)
TEXT_SETTER(packer)

#define NUMBER_SETTER(field, low, high)                                                            \
	static int set_##field(struct fg_config *config, const char *value,                        \
			       struct fg_error *error)                                             \
	{                                                                                          \
		return set_number(&config->field, value, low, high, error);                        \
	}
NUMBER_SETTER(spin_us, 0, 1000000)
NUMBER_SETTER(max_batch, 1, 1024)
NUMBER_SETTER(buckets_log2, 10, 24)

static int set_frames(struct fg_config *config, const char *value, struct fg_error *error)
{
	if (set_number(&config->frames, value, 256, 65536, error))
		return -EINVAL;
	if (config->frames & (config->frames - 1))
		return bad(error, value, "a power of two");
	return 0;
}

#define DURATION_SETTER(field, high_ms)                                                            \
	static int set_##field(struct fg_config *config, const char *value,                        \
			       struct fg_error *error)                                             \
	{                                                                                          \
		return set_duration_ms(&config->field, value, high_ms, error);                     \
	}
DURATION_SETTER(drain_deadline_ms, 86400e3)
DURATION_SETTER(keep_ms, 86400e3)

static int set_flow_idle_ms(struct fg_config *config, const char *value, struct fg_error *error)
{
	int code = set_duration_ms(&config->flow_idle_ms, value, 86400e3, error);

	if (!code && config->flow_idle_ms < 8)
		return bad(error, value, "at least 8ms");
	return code;
}

static int set_mode(struct fg_config *config, const char *value, struct fg_error *error)
{
	static const char *const modes[] = {"auto", "native", "generic", "sockets", NULL};

	return set_choice(&config->mode, value, modes, "auto, native, generic or sockets", error);
}

static int set_poll(struct fg_config *config, const char *value, struct fg_error *error)
{
	static const char *const polls[] = {"busy", "adaptive", "sleep", NULL};

	return set_choice(&config->poll, value, polls, "busy, adaptive or sleep", error);
}

static int set_policy(struct fg_config *config, const char *value, struct fg_error *error)
{
	static const char *const policies[] = {"latest", "manual", NULL};

	return set_choice(&config->policy, value, policies, "latest or manual", error);
}

static const struct option_spec {
	const char *name;
	int (*set)(struct fg_config *config, const char *value, struct fg_error *error);
	bool list; /* may be given more than once; in the file: a sequence */
	const char *value, *help;
} options[] = {
	{"interface", set_interface, false, "DEV", "network interface to attach XDP to"},
	{"listen", set_listen, true, "ADDR:PORT", "UDP address to serve, up to 8 times"},
	{"repository", set_repository, false, "DIR", "models: DIR/MODEL/VERSION/model.onnx"},
	{"policy", set_policy, false, "WHEN",
	 "latest (default): serve new versions at once; manual"},
	{"cpus", set_cpus, false, "LIST", "one worker on each CPU (default: the last one)"},
	{"poll", set_poll, false, "HOW", "busy, adaptive (default) or sleep"},
	{"spin-us", set_spin_us, false, "US", "adaptive: spin this long before sleeping (50)"},
	{"mode", set_mode, false, "MODE", "auto (default), native, generic or sockets"},
	{"max-batch", set_max_batch, false, "ROWS", "rows that run together at most (64)"},
	{"flow-idle", set_flow_idle_ms, false, "TIME", "a flow ends after this silence (1s)"},
	{"drain-deadline", set_drain_deadline_ms, false, "TIME", "then flows are moved (30s)"},
	{"keep", set_keep_ms, false, "TIME", "keep a drained generation for rollback (60s)"},
	{"frames", set_frames, false, "N", "AF_XDP frames per queue (4096)"},
	{"buckets-log2", set_buckets_log2, false, "N", "2^N flow buckets (18)"},
	{"acl", set_acl, true, "RULE",
	 "\"deny 10.1.0.0/16\" or \"allow ...\"; longest prefix wins"},
	{"name", set_name, false, "NAME", "of the service, in paths (default)"},
	{"user", set_user, false, "NAME", "workers and packer run as this user (nobody)"},
	{"socket", set_socket, false, "PATH", "control socket (/run/flipgate/NAME.sock)"},
	{"pin-dir", set_pin_dir, false, "DIR", "pinned BPF maps (/sys/fs/bpf/flipgate/NAME)"},
	{"packer", set_packer, false, "PATH", "flipgate-pack (beside flipgated)"},
};
#define OPTION_COUNT (sizeof(options) / sizeof(options[0]))

static int apply(struct fg_config *config, const struct option_spec *option, const char *value,
		 const char *where, struct fg_error *error)
{
	struct fg_error why = {""};
	int code = option->set(config, value, &why);

	if (code)
		fg_error_set(error, code, "%s%s: %s", where, option->name, why.text);
	return code;
}

/* ---- the file --------------------------------------------------------------------------- */

/* The file is a mapping of the options' names to texts, or to lists of texts. */
struct file_value {
	union {
		char *one;
		char **many;
	};
	uint32_t count; /* of many */
};

struct file {
	struct file_value values[OPTION_COUNT];
};

struct file_schema {
	cyaml_schema_field_t fields[OPTION_COUNT + 1];
	cyaml_schema_value_t top;
};

static const cyaml_schema_value_t file_text = {
	CYAML_VALUE_STRING(CYAML_FLAG_POINTER, char, 0, CYAML_UNLIMITED)};

static cyaml_schema_value_t value_schema(bool list)
{
	cyaml_schema_value_t schema = {
		.type = list ? CYAML_SEQUENCE : CYAML_STRING,
		.flags = CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL,
		.data_size = list ? sizeof(char *) : sizeof(char),
	};

	if (list) {
		schema.sequence.entry = &file_text;
		schema.sequence.max = FG_CONFIG_MAX_ACL;
	} else {
		schema.string.max = CYAML_UNLIMITED;
	}
	return schema;
}

static void make_schema(struct file_schema *schema)
{
	memset(schema, 0, sizeof(*schema));
	for (size_t i = 0; i < OPTION_COUNT; i++)
		schema->fields[i] = (cyaml_schema_field_t){
			.key = options[i].name,
			.data_offset = offsetof(struct file, values[i].one),
			.count_offset = offsetof(struct file, values[i].count),
			.count_size = sizeof(uint32_t),
			.value = value_schema(options[i].list),
		};
	schema->top = (cyaml_schema_value_t){
		CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct file, schema->fields)};
}

/* libcyaml logs what is wrong first and where in a later line of a backtrace. */
static void keep_error(cyaml_log_t level, void *context, const char *format, va_list args)
{
	struct fg_error *error = context;
	char line[160];
	size_t used = strlen(error->text);

	vsnprintf(line, sizeof(line), format, args);
	line[strcspn(line, "\n")] = '\0';
	if (level >= CYAML_LOG_ERROR &&
	    (!used || (strstr(line, "line:") && used < 160 && !strstr(error->text, "line:"))))
		snprintf(error->text + used, sizeof(error->text) - used, "%s%s", used ? "," : "",
			 line + strspn(line, " "));
}

static int apply_file(struct fg_config *config, const struct file *file, const char *path,
		      struct fg_error *error)
{
	char where[128];
	int code = 0;

	snprintf(where, sizeof(where), "%.120s: ", path);
	for (size_t i = 0; !code && i < OPTION_COUNT; i++) {
		const struct file_value *value = &file->values[i];

		if (!options[i].list && value->one)
			code = apply(config, &options[i], value->one, where, error);
		for (uint32_t k = 0; !code && options[i].list && k < value->count; k++)
			code = apply(config, &options[i], value->many[k], where, error);
	}
	return code;
}

static int load_file(struct fg_config *config, const char *path, struct fg_error *error)
{
	struct fg_error detail = {""};
	const cyaml_config_t cyaml = {.log_fn = keep_error,
				      .log_ctx = &detail,
				      .mem_fn = cyaml_mem,
				      .log_level = CYAML_LOG_ERROR,
				      .flags = CYAML_CFG_DEFAULT};
	struct file_schema schema;
	struct file *file = NULL;
	cyaml_err_t status;
	int code;

	if (access(path, R_OK))
		return fg_error_set(error, -errno, "%s: %s", path, strerror(errno));
	make_schema(&schema);
	status = cyaml_load_file(path, &cyaml, &schema.top, (cyaml_data_t **)&file, NULL);
	if (status != CYAML_OK)
		return fg_error_set(error, -EINVAL, "%.60s: %.180s", path,
				    detail.text[0] ? detail.text : cyaml_strerror(status));
	if (!file)
		return 0; /* an empty file says nothing */
	code = apply_file(config, file, path, error);
	cyaml_free(&cyaml, &schema.top, file, 0);
	return code;
}

/* ---- flags ------------------------------------------------------------------------------ */

static void print_help(void)
{
	printf("Usage: flipgated --listen ADDR:PORT --repository DIR [OPTION...]\n"
	       "Serves dense models over UDP; steers flows to workers with XDP and AF_XDP.\n\n");
	for (size_t i = 0; i < OPTION_COUNT; i++)
		printf("  --%-15s %-10s %s\n", options[i].name, options[i].value, options[i].help);
	printf("  --%-15s %-10s %s\n"
	       "  --%-15s %-10s %s\n"
	       "  --%-15s %-10s %s\n"
	       "  --%-15s %-10s %s\n"
	       "  --%-15s %-10s %s\n\n",
	       "config", "FILE", "YAML with the same names; flags win", "check", "",
	       "say whether the configuration is good, and exit", "verbose", "", "log more",
	       "version", "", "print the version", "help", "", "print this");
	printf("Examples:\n"
	       "  flipgated --interface eth0 --listen 10.0.0.1:9000 --repository /srv/models\n"
	       "  flipgated --config /etc/flipgate/flipgate.yaml --poll busy --cpus 2-5\n"
	       "  flipgated --listen 127.0.0.1:9000 --repository ./models     (no XDP)\n\n"
	       "Exit status: 0 stopped politely, 1 wrong configuration, 2 could not start.\n");
}

enum { FLAG_CONFIG = OPTION_COUNT, FLAG_CHECK, FLAG_VERBOSE, FLAG_VERSION, FLAG_HELP, FLAG_COUNT };

static void make_flags(struct option flags[FLAG_COUNT + 1])
{
	memset(flags, 0, (FLAG_COUNT + 1) * sizeof(flags[0]));
	for (size_t i = 0; i < OPTION_COUNT; i++)
		flags[i] = (struct option){options[i].name, required_argument, NULL, (int)i};
	flags[FLAG_CONFIG] = (struct option){"config", required_argument, NULL, FLAG_CONFIG};
	flags[FLAG_CHECK] = (struct option){"check", no_argument, NULL, FLAG_CHECK};
	flags[FLAG_VERBOSE] = (struct option){"verbose", no_argument, NULL, FLAG_VERBOSE};
	flags[FLAG_VERSION] = (struct option){"version", no_argument, NULL, FLAG_VERSION};
	flags[FLAG_HELP] = (struct option){"help", no_argument, NULL, FLAG_HELP};
}

/* A list given by flags takes the place of the file's. */
static void forget_list(struct fg_config *config, const struct option_spec *option, bool *seen)
{
	if (!option->list || *seen)
		return;
	*seen = true;
	if (option->set == set_listen)
		config->listen_count = 0;
	else
		config->acl_count = 0;
}

/* One pass over the flags: the first only looks for --config and the flags without a value. */
static int read_flags(struct fg_config *config, int argc, char **argv, bool first,
		      struct fg_error *error)
{
	struct option flags[FLAG_COUNT + 1];
	bool seen[OPTION_COUNT] = {false};
	int flag, code = 0;

	make_flags(flags);
	opterr = 0;
	optind = 1;
	while (!code && (flag = getopt_long(argc, argv, ":", flags, NULL)) >= 0) {
		if (flag == '?' || flag == ':')
			return fg_error_set(error, -EINVAL, "%s: %s (see --help)", argv[optind - 1],
					    flag == '?' ? "no such flag" : "needs a value");
		if (first && flag == FLAG_CONFIG)
			code = load_file(config, optarg, error);
		else if (first && flag == FLAG_HELP)
			print_help();
		else if (first && flag == FLAG_VERSION)
			puts("flipgated " FG_VERSION);
		else if (flag == FLAG_CHECK)
			config->check_only = true;
		else if (flag == FLAG_VERBOSE)
			config->verbose = true;
		if (first && (flag == FLAG_HELP || flag == FLAG_VERSION))
			return 1;
		if (!first && flag < FLAG_CONFIG) {
			forget_list(config, &options[flag], &seen[flag]);
			code = apply(config, &options[flag], optarg, "--", error);
		}
	}
	if (!code && optind < argc)
		return fg_error_set(error, -EINVAL, "%s: not a flag (see --help)", argv[optind]);
	return code;
}

static void set_defaults(struct fg_config *config)
{
	cpu_set_t allowed;

	*config = (struct fg_config){
		.name = "default",
		.poll = FG_POLL_ADAPTIVE,
		.spin_us = 50,
		.max_batch = 64,
		.frames = 4096,
		.flow_idle_ms = 1000,
		.drain_deadline_ms = 30000,
		.keep_ms = 60000,
		.buckets_log2 = FG_BUCKETS_LOG2,
		.user = "nobody",
		.worker_count = 1,
	};
	sched_getaffinity(0, sizeof(allowed), &allowed);
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, &allowed))
			config->worker_cpus[0] = cpu;
}

/* Paths that follow from others. */
static int derive_paths(struct fg_config *config, struct fg_error *error)
{
	char self[PATH_MAX];
	ssize_t length;

	if (strpbrk(config->name, "/."))
		return fg_error_set(error, -EINVAL,
				    "name: \"%s\" must not have a / or a . (bpffs takes none)",
				    config->name);
	if (!config->socket[0])
		snprintf(config->socket, sizeof(config->socket), "/run/flipgate/%s.sock",
			 config->name);
	if (!config->pin_dir[0])
		snprintf(config->pin_dir, sizeof(config->pin_dir), "/sys/fs/bpf/flipgate/%s",
			 config->name);
	if (config->packer[0])
		return 0;
	length = readlink("/proc/self/exe", self, sizeof(self) - 1);
	if (length < 0)
		return fg_error_set(error, -errno, "/proc/self/exe: %s", strerror(errno));
	self[length] = '\0';
	*strrchr(self, '/') = '\0';
	snprintf(config->packer, sizeof(config->packer), "%.4000s/flipgate-pack", self);
	return 0;
}

static int check_whole(const struct fg_config *config, struct fg_error *error)
{
	if (!config->listen_count)
		return fg_error_set(error, -EINVAL,
				    "nothing to listen on: --listen ADDR:PORT (see --help)");
	if (!config->repository[0])
		return fg_error_set(
			error, -EINVAL,
			"no models: --repository DIR with DIR/MODEL/VERSION/model.onnx");
	if (config->mode != FG_MODE_NONE && config->mode != FG_MODE_SOCKETS &&
	    !config->interface[0])
		return fg_error_set(error, -EINVAL, "--mode %s needs --interface DEV",
				    fg_mode_name(config->mode));
	if (!getpwnam(config->user))
		return fg_error_set(error, -EINVAL, "user: \"%s\" does not exist", config->user);
	if (access(config->packer, X_OK))
		return fg_error_set(error, -errno, "packer: %.200s: %s", config->packer,
				    strerror(errno));
	return 0;
}

int fg_config_load(struct fg_config *config, int argc, char **argv, struct fg_error *error)
{
	int code;

	set_defaults(config);
	code = read_flags(config, argc, argv, true, error);
	if (!code)
		code = read_flags(config, argc, argv, false, error);
	if (!code)
		code = derive_paths(config, error);
	if (!code)
		code = check_whole(config, error);
	return code;
}

char *fg_config_format_address(const struct sockaddr_storage *address, char *text, size_t size)
{
	char host[INET6_ADDRSTRLEN];

	if (address->ss_family == AF_INET) {
		const struct sockaddr_in *v4 = (const struct sockaddr_in *)address;

		inet_ntop(AF_INET, &v4->sin_addr, host, sizeof(host));
		snprintf(text, size, "%s:%u", host, ntohs(v4->sin_port));
	} else {
		const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)address;

		inet_ntop(AF_INET6, &v6->sin6_addr, host, sizeof(host));
		snprintf(text, size, "[%s]:%u", host, ntohs(v6->sin6_port));
	}
	return text;
}
