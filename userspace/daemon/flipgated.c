/* flipgated: the gateway. Reads the configuration and becomes the keeper (keeper.h). Or, run by a
 * keeper or to be run by one: another control process (takeover.h). */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "userspace/daemon/config.h"
#include "userspace/daemon/keeper.h"
#include "userspace/daemon/models_config.h"
#include "userspace/daemon/remarks.h"
#include "userspace/daemon/takeover.h"
#include "userspace/shared/log.h"

enum { EXIT_CONFIG = 1, EXIT_START = 2 };

static int load(struct fg_config *config, struct fg_rules *rules, int argc, char **argv,
		struct fg_error *error)
{
	int code = fg_config_load(config, argc, argv, error);

	return code || config->upgrade ? code : fg_models_config_read(rules, config, error);
}

int main(int argc, char **argv)
{
	static struct fg_config config;
	static struct fg_rules rules;
	struct fg_error error = {""};
	int code;

	if (argc == 3 && !strcmp(argv[1], FG_TAKEOVER_FLAG))
		return fg_takeover_run(argv[2]);
	code = load(&config, &rules, argc, argv, &error);
	if (code > 0)
		return 0;
	if (!code && config.upgrade)
		return fg_takeover_ask(&config);
	if (code) {
		fprintf(stderr, "flipgated: %s\n", error.text);
		return EXIT_CONFIG;
	}
	if (config.check_only) {
		puts("the configuration is good");
		if (!fg_remarks_check(&rules, &error))
			return 0;
		fprintf(stderr, "flipgated: %s\n", error.text);
		return EXIT_CONFIG;
	}
	if (geteuid()) {
		fprintf(stderr,
			"flipgated: must start as root, to load BPF programs and open AF_XDP "
			"sockets; workers then run as user %s without any privilege\n",
			config.user);
		return EXIT_START;
	}
	fg_log_open("keeper", config.verbose);
	fg_log_never_wait();
	code = fg_keeper_run(&config, &rules, &error);
	if (code)
		fprintf(stderr, "flipgated: %s\n", error.text);
	return code ? EXIT_START : 0;
}
