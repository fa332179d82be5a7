#include "userspace/daemon/config_options.h"

#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "models/row_time.h"

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

/* "1500000000", "512M", "1.5G" */
static int set_memory(struct fg_config *config, const char *value, struct fg_error *error)
{
	char *end;
	double number = strtod(value, &end);
	double scale = !*end		   ? 1
		       : !strcmp(end, "K") ? 1 << 10
		       : !strcmp(end, "M") ? 1 << 20
		       : !strcmp(end, "G") ? 1 << 30
					   : 0;

	if (end == value || !scale || !(number * scale >= 64 << 20) || number * scale > 1e15)
		return bad(error, value, "a number of bytes such as 512M or 1.5G, at least 64M");
	config->memory_bytes = (uint64_t)(number * scale);
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

static int add_listener(struct sockaddr_storage listen[FG_MAX_LISTENERS], uint32_t *count,
			const char *value, struct fg_error *error)
{
	if (*count == FG_MAX_LISTENERS)
		return fg_error_set(error, -E2BIG, "more than %d addresses", FG_MAX_LISTENERS);
	if (parse_address(value, &listen[*count]))
		return bad(error, value, "an address such as 10.0.0.1:9000 or [fd00::1]:9000");
	(*count)++;
	return 0;
}

static int set_listen(struct fg_config *config, const char *value, struct fg_error *error)
{
	return add_listener(config->listen, &config->listen_count, value, error);
}

static int set_listen_tcp(struct fg_config *config, const char *value, struct fg_error *error)
{
	return add_listener(config->listen_tcp, &config->listen_tcp_count, value, error);
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

/* The links in it stay: a ConfigMap's are swapped, and the file is read through them again. */
static int set_models_config(struct fg_config *config, const char *value, struct fg_error *error)
{
	char here[PATH_MAX] = "", path[2 * PATH_MAX];

	if (access(value, R_OK) || (value[0] != '/' && !getcwd(here, sizeof(here))))
		return fg_error_set(error, -errno, "%s: %s", value, strerror(errno));
	snprintf(path, sizeof(path), "%s%s%s", here, here[0] ? "/" : "", value);
	return set_text(config->models_config, sizeof(config->models_config), path, error);
}

/* The file may not exist yet; its directory must. */
static int set_audit_log(struct fg_config *config, const char *value, struct fg_error *error)
{
	if (value[0] != '/' && strcmp(value, "none"))
		return bad(error, value, "an absolute path, or none");
	config->audit_named = true;
	return set_text(config->audit_log, sizeof(config->audit_log), value, error);
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
TEXT_SETTER(socket_group)
TEXT_SETTER(pin_dir)
TEXT_SETTER(state_dir)
TEXT_SETTER(packer)

#define NUMBER_SETTER(field, low, high)                                                            \
	static int set_##field(struct fg_config *config, const char *value,                        \
			       struct fg_error *error)                                             \
	{                                                                                          \
		return set_number(&config->field, value, low, high, error);                        \
	}
NUMBER_SETTER(spin_us, 0, 1000000)
NUMBER_SETTER(connections, 1, 65536)
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
DURATION_SETTER(settle_ms, 86400e3)

static int set_flow_idle_ms(struct fg_config *config, const char *value, struct fg_error *error)
{
	int code = set_duration_ms(&config->flow_idle_ms, value, 86400e3, error);

	if (!code && config->flow_idle_ms < 8)
		return bad(error, value, "at least 8ms");
	return code;
}

static int set_max_row_ms(struct fg_config *config, const char *value, struct fg_error *error)
{
	const uint32_t most_ms = FG_ROW_TIME_MOST_NS / 1000000;
	int code = set_duration_ms(&config->max_row_ms, value, most_ms, error);

	return !code && !config->max_row_ms ? bad(error, value, "at least 1ms") : code;
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

static int set_interface_may_change(struct fg_config *config, const char *value,
				    struct fg_error *error)
{
	config->interface_may_change = !strcmp(value, "yes") || !strcmp(value, "true");
	return config->interface_may_change || !strcmp(value, "no") || !strcmp(value, "false")
		       ? 0
		       : bad(error, value, "yes or no");
}

const struct fg_config_option fg_config_options[FG_CONFIG_OPTIONS] = {
	{"interface", set_interface, false, "DEV", "network interface to attach XDP to"},
	{"listen", set_listen, true, "ADDR:PORT", "UDP address to serve, up to 8 times"},
	{"listen-tcp", set_listen_tcp, true, "ADDR:PORT", "TCP address to serve, up to 8 times"},
	{"connections", set_connections, false, "N", "TCP connections of a worker (1024)"},
	{"repository", set_repository, false, "DIR",
	 "models: DIR/MODEL/VERSION/model.{onnx,h5,keras}"},
	{"models-config", set_models_config, false, "FILE",
	 "YAML, or TensorFlow Serving's models.config: which models, versions, labels"},
	{"policy", set_policy, false, "WHEN",
	 "latest (default): serve new versions at once; manual"},
	{"allow-interface-change", set_interface_may_change, false, "",
	 "policies may bring in other inputs or outputs than the live version's"},
	{"cpus", set_cpus, false, "LIST", "one worker on each CPU (default: all but the first)"},
	{"poll", set_poll, false, "HOW", "busy, adaptive (default) or sleep"},
	{"spin-us", set_spin_us, false, "US", "adaptive: spin this long before sleeping (50)"},
	{"mode", set_mode, false, "MODE", "auto (default), native, generic or sockets"},
	{"max-batch", set_max_batch, false, "ROWS", "rows that run together at most (64)"},
	{"max-row", set_max_row_ms, false, "TIME",
	 "a model that takes longer for a row is refused (10ms)"},
	{"flow-idle", set_flow_idle_ms, false, "TIME", "a flow ends after this silence (1s)"},
	{"drain-deadline", set_drain_deadline_ms, false, "TIME", "then flows are moved (30s)"},
	{"keep", set_keep_ms, false, "TIME", "keep a drained generation for rollback (60s)"},
	{"settle", set_settle_ms, false, "TIME",
	 "files that change so soon after a version was taken replace it (10m)"},
	{"frames", set_frames, false, "N", "AF_XDP frames per queue (4096)"},
	{"buckets-log2", set_buckets_log2, false, "N", "2^N flow buckets (18)"},
	{"memory", set_memory, false, "BYTES", "that may be used (the cgroup's limit)"},
	{"acl", set_acl, true, "RULE",
	 "\"deny 10.1.0.0/16\" or \"allow ...\"; longest prefix wins"},
	{"name", set_name, false, "NAME", "of the service, in paths (default)"},
	{"user", set_user, false, "NAME", "workers and packer run as this user (nobody)"},
	{"socket", set_socket, false, "PATH", "control socket (/run/flipgate/NAME.sock)"},
	{"socket-group", set_socket_group, false, "GROUP", "may use it as well"},
	{"audit-log", set_audit_log, false, "FILE", "who changed what (NAME.audit in state-dir)"},
	{"pin-dir", set_pin_dir, false, "DIR", "pinned BPF maps (/sys/fs/bpf/flipgate/NAME)"},
	{"state-dir", set_state_dir, false, "DIR",
	 "what served last, for the next start (the socket's)"},
	{"packer", set_packer, false, "PATH", "flipgate-pack (beside flipgated)"},
};

int fg_config_apply(struct fg_config *config, const struct fg_config_option *option,
		    const char *value, const char *where, struct fg_error *error)
{
	struct fg_error why = {""};
	int code = option->set(config, value, &why);

	if (code)
		fg_error_set(error, code, "%s%s: %s", where, option->name, why.text);
	return code;
}
