/*
 * config.h: what an operator can set, from a YAML file and flags (flags win).
 *
 * docs/configuration.md and `flipgated --help` say the same for operators.
 */
#ifndef FG_DAEMON_CONFIG_H
#define FG_DAEMON_CONFIG_H

#include <net/if.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include "bpf/abi.h"
#include "models/error.h"
#include "sched/rollout.h"
#include "userspace/shared/state.h"

#define FG_CONFIG_MAX_ACL 256

enum fg_poll { FG_POLL_BUSY = 0, FG_POLL_ADAPTIVE, FG_POLL_SLEEP };
enum fg_policy { FG_POLICY_LATEST = 0, FG_POLICY_MANUAL };

struct fg_config_acl {
	struct sockaddr_storage address;
	uint32_t bits; /* within the address's own family */
	enum fg_acl_action action;
};

struct fg_config {
	char name[32];		  /* of the service; in paths and logs. "default" */
	char interface[IFNAMSIZ]; /* XDP attaches here; empty: mode sockets */
	uint32_t mode;		  /* enum fg_mode; NONE: try native, generic, sockets */
	struct sockaddr_storage listen[FG_MAX_LISTENERS]; /* UDP */
	uint32_t listen_count;				  /* 1 .. FG_MAX_LISTENERS */
	struct sockaddr_storage listen_tcp[FG_MAX_LISTENERS];
	uint32_t listen_tcp_count; /* 0 .. FG_MAX_LISTENERS */
	uint32_t connections;	   /* TCP, of one worker at most, 1 .. 65536 */
	/* Absolute directory: MODEL/VERSION/model.*; "" with models_config */
	char repository[FG_RULES_PATH_BYTES];
	char models_config[FG_RULES_PATH_BYTES]; /* absolute file of models_config.h; "": none */
	uint32_t policy;			 /* enum fg_policy, of models without rules */
	int worker_cpus[FG_ROLLOUT_MAX_WORKERS]; /* one worker each */
	uint32_t worker_count;			 /* 1 .. FG_ROLLOUT_MAX_WORKERS */
	uint32_t poll;				 /* enum fg_poll */
	uint32_t spin_us;    /* adaptive: how long to spin after the last request */
	uint32_t max_batch;  /* rows, 1 .. 1024 (b_max) */
	uint32_t max_row_ms; /* that one row may take; else its version is refused. 1 .. 1000 */
	uint32_t frames;     /* UMEM frames per queue, a power of two, 256 .. 2^16 */
	uint32_t flow_idle_ms;
	uint32_t drain_deadline_ms; /* after which a draining generation's flows are moved */
	uint32_t keep_ms;	    /* how long a drained generation stays for a rollback; 0: not */
	uint32_t settle_ms;	    /* so long a version's files may still be its copy */
	uint32_t buckets_log2;
	uint64_t memory_bytes; /* that the gateway may use, see memory.h; 0: all there is */
	struct fg_config_acl acl[FG_CONFIG_MAX_ACL];
	uint32_t acl_count;
	char user[32];	       /* workers and packer run as this user */
	char socket[108];      /* path of the control socket */
	char socket_group[32]; /* whose members may use it too; "": its owner alone */
	char audit_log[4096];  /* "": none */
	bool audit_named;      /* by the operator: without that file nothing starts */
	char pin_dir[256];     /* below a bpffs */
	char state_dir[256];   /* what the next start should know; default: the socket's */
	char packer[4096];     /* flipgate-pack; default: beside flipgated */
	bool verbose;
	bool check_only; /* --check: validate the configuration and exit */
	bool upgrade;	 /* --upgrade: become control of the one that runs, see takeover.h */
	bool interface_may_change; /* --allow-interface-change */
	bool replace; /* --replace: serve instead of the one that runs, see predecessor.h */
};

/*
 * Fills *config from defaults, then the file named by --config, then flags. Returns 0, or 1 when
 * --help or --version was printed, or -EINVAL with *error naming the file and line, or the flag.
 */
int fg_config_load(struct fg_config *config, int argc, char **argv, struct fg_error *error);

/* "10.0.0.1:9000", "[::]:9000". `text` holds at least 64 bytes. Returns text. */
char *fg_config_format_address(const struct sockaddr_storage *address, char *text, size_t size);
/* The workers' CPUs: "1-3,5". Returns text. */
char *fg_config_format_cpus(const struct fg_config *config, char *text, size_t size);

#endif
