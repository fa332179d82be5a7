#include "userspace/daemon/config.h"

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "models/row_time.h"
#include "userspace/daemon/config_options.h"
#include "userspace/shared/nearest.h"

static void print_flag(const char *name, const char *value, const char *help)
{
	printf("  --%-15s %-10s %s\n", name, value, help);
}

static void print_flags(void)
{
	for (size_t i = 0; i < FG_CONFIG_OPTIONS; i++)
		print_flag(fg_config_options[i].name, fg_config_options[i].value,
			   fg_config_options[i].help);
	print_flag("config", "FILE", "YAML with the same names; flags win");
	print_flag("check", "",
		   "say whether the configuration is good, what is not served and why; exit");
	print_flag("upgrade", "", "put this program in charge of the gateway that runs, see below");
	print_flag("replace", "", "serve instead of the gateway that runs, see below");
	print_flag("verbose", "", "log more");
	print_flag("version", "", "print the version");
	print_flag("help", "", "print this");
}

static void print_help(void)
{
	puts("Usage: flipgated --listen ADDR:PORT --repository DIR [OPTION...]\n"
	     "       flipgated --replace --listen ADDR:PORT --repository DIR [OPTION...]\n"
	     "       flipgated --upgrade [--socket PATH | --name NAME | --config FILE]\n"
	     "Serves dense models over UDP and TCP; steers flows to workers with XDP and "
	     "AF_XDP.\n");
	print_flags();
	puts("\nSignals: SIGTERM and SIGINT drain and stop, a second one stops at once. SIGHUP "
	     "reads\n"
	     "--models-config again and opens --audit-log anew.\n\n"
	     "--upgrade: the control process of the gateway that runs is replaced by this program: "
	     "what\n"
	     "chooses versions, steps rollouts, judges guards, answers the control socket. Its "
	     "keeper,\n"
	     "workers and BPF programs stay those it was started with: nothing restarts, no flow "
	     "moves.\n"
	     "To change these too, replace it. Only root may; the file must be root's, and "
	     "writable for\n"
	     "nobody else. A program that does not take charge within 2 s is given up again.\n\n"
	     "--replace: a restart without loss, for a change of options or of the whole program. "
	     "Starts\n"
	     "beside the gateway at the same --socket, --name and --state-dir, loads all models, "
	     "takes over\n"
	     "the traffic, and tells the other one to drain and stop. Until then both need "
	     "memory. What it\n"
	     "cannot serve as well, and a wildcard address where the other one has a single one "
	     "(or the\n"
	     "other way round), ends it with exit status 2, and the other one serves on. Without "
	     "another\n"
	     "one: an ordinary start.\n\n"
	     "Examples:\n"
	     "  flipgated --interface eth0 --listen 10.0.0.1:9000 --repository /srv/models\n"
	     "  flipgated --config /etc/flipgate/flipgate.yaml --poll busy --cpus 2-5\n"
	     "  flipgated --listen 127.0.0.1:9000 --repository ./models     (no XDP)\n\n"
	     "Exit status: 0 stopped politely, or upgraded; 1 wrong configuration; 2 could not "
	     "start,\n"
	     "or not upgrade.");
}

enum {
	FLAG_CONFIG = FG_CONFIG_OPTIONS,
	FLAG_CHECK,
	FLAG_UPGRADE,
	FLAG_REPLACE,
	FLAG_VERBOSE,
	FLAG_VERSION,
	FLAG_HELP,
	FLAG_COUNT
};

static void make_flags(struct option flags[FLAG_COUNT + 1])
{
	memset(flags, 0, (FLAG_COUNT + 1) * sizeof(flags[0]));
	for (size_t i = 0; i < FG_CONFIG_OPTIONS; i++)
		flags[i] = (struct option){fg_config_options[i].name,
					   fg_config_options[i].value[0] ? required_argument
									 : optional_argument,
					   NULL, (int)i};
	flags[FLAG_CONFIG] = (struct option){"config", required_argument, NULL, FLAG_CONFIG};
	flags[FLAG_CHECK] = (struct option){"check", no_argument, NULL, FLAG_CHECK};
	flags[FLAG_UPGRADE] = (struct option){"upgrade", no_argument, NULL, FLAG_UPGRADE};
	flags[FLAG_REPLACE] = (struct option){"replace", no_argument, NULL, FLAG_REPLACE};
	flags[FLAG_VERBOSE] = (struct option){"verbose", no_argument, NULL, FLAG_VERBOSE};
	flags[FLAG_VERSION] = (struct option){"version", no_argument, NULL, FLAG_VERSION};
	flags[FLAG_HELP] = (struct option){"help", no_argument, NULL, FLAG_HELP};
}

/* A list given by flags takes the place of the file's. */
static void forget_list(struct fg_config *config, const struct fg_config_option *option, bool *seen)
{
	if (!option->list || *seen)
		return;
	*seen = true;
	if (!strcmp(option->name, "listen"))
		config->listen_count = 0;
	else if (!strcmp(option->name, "listen-tcp"))
		config->listen_tcp_count = 0;
	else
		config->acl_count = 0;
}

static int refuse_flag(const struct option *flags, const char *given, bool unknown,
		       struct fg_error *error)
{
	const char *best = NULL;

	for (; unknown && flags->name; flags++)
		if (!strncmp(given, "--", 2))
			best = fg_nearest(given + 2, flags->name, best);
	return fg_error_set(error, -EINVAL, "%s: %s%s%s%s (see --help)", given,
			    unknown ? "no such flag" : "needs a value",
			    best ? ": did you mean --" : "", best ? best : "", best ? "?" : "");
}

/* One pass over the flags: the first only looks for --config and the flags without a value. */
static int read_flags(struct fg_config *config, int argc, char **argv, bool first,
		      struct fg_error *error)
{
	struct option flags[FLAG_COUNT + 1];
	bool seen[FG_CONFIG_OPTIONS] = {false};
	int flag, code = 0;

	make_flags(flags);
	opterr = 0;
	optind = 1;
	while (!code && (flag = getopt_long(argc, argv, ":", flags, NULL)) >= 0) {
		if (flag == '?' || flag == ':')
			return refuse_flag(flags, argv[optind - 1], flag == '?', error);
		if (first && flag == FLAG_CONFIG)
			code = fg_config_load_file(config, optarg, error);
		else if (first && flag == FLAG_HELP)
			print_help();
		else if (first && flag == FLAG_VERSION)
			puts("flipgated " FG_VERSION);
		else if (flag == FLAG_CHECK)
			config->check_only = true;
		else if (flag == FLAG_UPGRADE)
			config->upgrade = true;
		else if (flag == FLAG_REPLACE)
			config->replace = true;
		else if (flag == FLAG_VERBOSE)
			config->verbose = true;
		if (first && (flag == FLAG_HELP || flag == FLAG_VERSION))
			return 1;
		if (!first && flag < FLAG_CONFIG) {
			forget_list(config, &fg_config_options[flag], &seen[flag]);
			code = fg_config_apply(config, &fg_config_options[flag],
					       optarg ? optarg : "yes", "--", error);
		}
	}
	if (!code && optind < argc)
		return fg_error_set(error, -EINVAL, "%s: not a flag (see --help)", argv[optind]);
	return code;
}

static void set_defaults(struct fg_config *config)
{
	int first = -1; /* for everything else, where there are more */
	cpu_set_t allowed;

	*config = (struct fg_config){
		.name = "default",
		.poll = FG_POLL_ADAPTIVE,
		.spin_us = 50,
		.max_batch = 64,
		.max_row_ms = FG_ROW_TIME_DEFAULT_NS / 1000000,
		.connections = 1024,
		.frames = 4096,
		.flow_idle_ms = 1000,
		.drain_deadline_ms = 30000,
		.keep_ms = 60000,
		.settle_ms = 600000,
		.buckets_log2 = FG_BUCKETS_LOG2,
		.user = "nobody",
	};
	sched_getaffinity(0, sizeof(allowed), &allowed);
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (!CPU_ISSET(cpu, &allowed))
			continue;
		if (first < 0)
			first = cpu;
		else if (config->worker_count < FG_ROLLOUT_MAX_WORKERS)
			config->worker_cpus[config->worker_count++] = cpu;
	}
	if (!config->worker_count)
		config->worker_cpus[config->worker_count++] = first;
}

char *fg_config_format_cpus(const struct fg_config *config, char *text, size_t size)
{
	const int *cpus = config->worker_cpus;
	size_t used = 0;

	text[0] = '\0';
	for (uint32_t i = 0, last; i < config->worker_count && used < size; i = last + 1) {
		for (last = i; last + 1 < config->worker_count && cpus[last + 1] == cpus[last] + 1;)
			last++;
		used += (size_t)snprintf(text + used, size - used, "%s%d", i ? "," : "", cpus[i]);
		if (last > i && used < size)
			used += (size_t)snprintf(text + used, size - used, "-%d", cpus[last]);
	}
	return text;
}

/* Paths that follow from others. */
static int derive_paths(struct fg_config *config, struct fg_error *error)
{
	char self[PATH_MAX];
	const char *slash;
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
	slash = strrchr(config->socket, '/');
	if (!config->state_dir[0])
		snprintf(config->state_dir, sizeof(config->state_dir), "%.*s",
			 slash > config->socket ? (int)(slash - config->socket) : 1,
			 slash ? config->socket : ".");
	if (!config->audit_log[0])
		snprintf(config->audit_log, sizeof(config->audit_log), "%.*s/%s.audit",
			 (int)sizeof(config->audit_log) - 64, config->state_dir, config->name);
	else if (!strcmp(config->audit_log, "none"))
		config->audit_log[0] = '\0';
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
	if (!config->listen_count && !config->listen_tcp_count)
		return fg_error_set(error, -EINVAL,
				    "nothing to listen on: --listen ADDR:PORT (see --help)");
	if (!config->repository[0] && !config->models_config[0])
		return fg_error_set(
			error, -EINVAL,
			"no models: --repository DIR with DIR/MODEL/VERSION/model.{onnx,h5,keras}, "
			"or --models-config FILE");
	if (config->mode != FG_MODE_NONE && config->mode != FG_MODE_SOCKETS &&
	    !config->interface[0])
		return fg_error_set(error, -EINVAL, "--mode %s needs --interface DEV",
				    fg_mode_name(config->mode));
	if (!getpwnam(config->user))
		return fg_error_set(error, -EINVAL, "user: \"%s\" does not exist", config->user);
	if (config->socket_group[0] && !getgrnam(config->socket_group))
		return fg_error_set(error, -EINVAL, "socket-group: \"%s\" does not exist",
				    config->socket_group);
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
	if (!code && !config->upgrade)
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
