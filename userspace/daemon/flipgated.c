/* flipgated: the gateway. Reads the configuration and becomes the keeper (keeper.h). */
#include <errno.h>
#include <stdio.h>
#include <unistd.h>
#include "userspace/daemon/config.h"
#include "userspace/daemon/keeper.h"
#include "userspace/shared/log.h"

enum { EXIT_CONFIG = 1, EXIT_START = 2 };

int main(int argc, char **argv)
{
	static struct fg_config config;
	struct fg_error error = {""};
	int code = fg_config_load(&config, argc, argv, &error);

	if (code > 0)
		return 0;
	if (code) {
		fprintf(stderr, "flipgated: %s\n", error.text);
		return EXIT_CONFIG;
	}
	if (config.check_only) {
		puts("the configuration is good");
		return 0;
	}
	if (geteuid()) {
		fprintf(stderr,
			"flipgated: must start as root, to load BPF programs and open AF_XDP "
			"sockets; workers then run as user %s without any privilege\n",
			config.user);
		return EXIT_START;
	}
	fg_log_open("keeper", config.verbose);
	code = fg_keeper_run(&config, &error);
	if (code)
		fprintf(stderr, "flipgated: %s\n", error.text);
	return code ? EXIT_START : 0;
}
