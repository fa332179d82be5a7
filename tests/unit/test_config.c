/* Flags and file mean the same; what is wrong is named with its place. */
#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include "userspace/daemon/config.h"

#define BASE "--repository", "/tmp", "--packer", "/bin/true"

static struct fg_config config;
static struct fg_error error;

#define LOAD(...) load_flags((char *[]){"flipgated", __VA_ARGS__, NULL})

static int load_flags(char **argv)
{
	int argc = 0;

	while (argv[argc])
		argc++;
	error.text[0] = '\0';
	return fg_config_load(&config, argc, argv, &error);
}

/* Writes a configuration file and loads it. */
static int load_file(const char *text, const char *flag, const char *value)
{
	char path[] = "/tmp/fgt-config-XXXXXX";
	int fd = mkstemp(path), code;

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
	if (flag)
		code = LOAD("--config", path, BASE, (char *)flag, (char *)value);
	else
		code = LOAD("--config", path, BASE);
	unlink(path);
	return code;
}

static void assert_says(const char *words)
{
	if (!strstr(error.text, words))
		fail_msg("\"%s\" does not say \"%s\"", error.text, words);
}

static void defaults_and_flags(void **state)
{
	char text[64];

	(void)state;
	assert_int_equal(LOAD(BASE, "--listen", "10.0.0.1:9000", "--listen", "[fd00::1]:9001"), 0);
	assert_int_equal(config.listen_count, 2);
	assert_string_equal(fg_config_format_address(&config.listen[0], text, sizeof(text)),
			    "10.0.0.1:9000");
	assert_string_equal(fg_config_format_address(&config.listen[1], text, sizeof(text)),
			    "[fd00::1]:9001");
	assert_int_equal(config.poll, FG_POLL_ADAPTIVE);
	assert_int_equal(config.mode, FG_MODE_NONE);
	assert_int_equal(config.flow_idle_ms, 1000);
	assert_string_equal(config.socket, "/run/flipgate/default.sock");
	assert_string_equal(config.pin_dir, "/sys/fs/bpf/flipgate/default");
	assert_int_equal(LOAD(BASE, "--listen", "[::]:1", "--poll", "busy", "--mode", "generic",
			      "--interface", "lo", "--keep", "1.5s", "--flow-idle", "250ms",
			      "--policy", "manual", "--name", "a", "--cpus", "0"),
			 0);
	assert_int_equal(config.poll, FG_POLL_BUSY);
	assert_int_equal(config.mode, FG_MODE_GENERIC);
	assert_int_equal(config.policy, FG_POLICY_MANUAL);
	assert_int_equal(config.keep_ms, 1500);
	assert_int_equal(config.settle_ms, 600000);
	assert_int_equal(config.flow_idle_ms, 250);
	assert_int_equal(config.worker_count, 1);
	assert_string_equal(config.socket, "/run/flipgate/a.sock");
}

/* One CPU is for everything else, where there are two. */
static void one_worker_on_each_cpu(void **state)
{
	cpu_set_t all, some;
	char text[64];

	(void)state;
	assert_int_equal(sched_getaffinity(0, sizeof(all), &all), 0);
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (!CPU_ISSET(cpu, &all))
			continue;
		CPU_ZERO(&some);
		CPU_SET(cpu, &some);
		assert_int_equal(sched_setaffinity(0, sizeof(some), &some), 0);
		assert_int_equal(LOAD(BASE, "--listen", "10.0.0.1:1"), 0);
		assert_int_equal(config.worker_count, 1);
		assert_int_equal(config.worker_cpus[0], cpu);
		break;
	}
	assert_int_equal(sched_setaffinity(0, sizeof(all), &all), 0);
	assert_int_equal(LOAD(BASE, "--listen", "10.0.0.1:1"), 0);
	if (CPU_COUNT(&all) > 1)
		assert_int_equal(config.worker_count, CPU_COUNT(&all) > FG_ROLLOUT_MAX_WORKERS
							      ? FG_ROLLOUT_MAX_WORKERS
							      : CPU_COUNT(&all) - 1);
	config.worker_count = 6;
	memcpy(config.worker_cpus, (int[]){1, 2, 3, 5, 7, 8}, 6 * sizeof(int));
	assert_string_equal(fg_config_format_cpus(&config, text, sizeof(text)), "1-3,5,7-8");
}

static void files_say_the_same(void **state)
{
	(void)state;
	assert_int_equal(load_file("listen:\n  - 10.0.0.1:9000\n  - '[fd00::1]:9000'\n"
				   "poll: sleep\nmax-batch: 7\nmax-row: 250ms\nflow-idle: 2s\n"
				   "acl:\n  - deny 10.1.0.0/16\n  - allow fd00::/8\n",
				   NULL, NULL),
			 0);
	assert_int_equal(config.listen_count, 2);
	assert_int_equal(config.poll, FG_POLL_SLEEP);
	assert_int_equal(config.max_batch, 7);
	assert_int_equal(config.max_row_ms, 250);
	assert_int_equal(config.flow_idle_ms, 2000);
	assert_int_equal(config.acl_count, 2);
	assert_int_equal(config.acl[0].bits, 16);
	assert_int_equal(config.acl[0].action, FG_ACL_DENY);
	assert_int_equal(config.acl[1].bits, 8);
	assert_int_equal(config.acl[1].address.ss_family, AF_INET6);
}

static void flags_win(void **state)
{
	(void)state;
	assert_int_equal(load_file("listen: ['10.0.0.1:9000']\npoll: sleep\n", "--poll", "busy"),
			 0);
	assert_int_equal(config.poll, FG_POLL_BUSY);
	assert_int_equal(load_file("listen: ['10.0.0.1:1', '10.0.0.2:1']\n", "--listen",
				   "10.0.0.3:3"),
			 0);
	assert_int_equal(config.listen_count, 1);
	assert_int_equal(ntohs(((struct sockaddr_in *)&config.listen[0])->sin_port), 3);
}

static void bad_flags_are_named(void **state)
{
	static const struct {
		char *flag, *value, *says;
	} cases[] = {
		{"--listen", "10.0.0.1", "listen"},
		{"--listen", "10.0.0.1:0", "listen"},
		{"--listen", "10.0.0.1:65536", "listen"},
		{"--listen", "[::1:90", "listen"},
		{"--listen", "name:90", "listen"},
		{"--listen", "", "listen"},
		{"--poll", "fast", "busy, adaptive or sleep"},
		{"--max-batch", "0", "1 to 1024"},
		{"--max-batch", "-1", "1 to 1024"},
		{"--max-batch", "9x", "1 to 1024"},
		{"--max-row", "0.5ms", "at least 1ms"},
		{"--max-row", "1001ms", "duration"},
		{"--frames", "1000", "power of two"},
		{"--flow-idle", "5", "duration"},
		{"--flow-idle", "1ms", "at least"},
		{"--keep", "-1s", "duration"},
		{"--keep", "nans", "duration"},
		{"--cpus", "4096", "CPUs"},
		{"--cpus", "0,", "CPUs"},
		{"--cpus", "x", "CPUs"},
		{"--cpus", "1-0", "CPUs"},
		{"--acl", "10.0.0.0/8", "deny"},
		{"--acl", "deny 10.0.0.0/33", "deny"},
		{"--repository", "/nowhere/at/all", "No such file"},
		{"--name", "a/b", "name"},
		{"--user", "no-such-user", "does not exist"},
		{"--packer", "/nowhere", "packer"},
		{"--listen-tcp", "10.0.0.1", "listen-tcp"},
		{"--connections", "0", "1 to 65536"},
		{"--models-config", "/nowhere.yaml", "No such file"},
		{"--socket-group", "no-such-group", "does not exist"},
		{"--audit-log", "audit.log", "absolute path"},
		{"--nonsense", "1", "no such flag (see"},
		{"--listn", "1", "did you mean --listen?"},
		{"--drain-dedline", "1", "did you mean --drain-deadline?"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int code = LOAD(BASE, "--listen", "10.0.0.1:1", cases[i].flag, cases[i].value);

		if (code >= 0)
			fail_msg("%s %s was taken", cases[i].flag, cases[i].value);
		assert_says(cases[i].says);
	}
	assert_true(LOAD("--repository", "/tmp", "--packer", "/bin/true") < 0);
	assert_says("nothing to listen on");
	assert_true(LOAD("--listen", "10.0.0.1:1", "--packer", "/bin/true") < 0);
	assert_says("no models");
	assert_true(LOAD(BASE, "--listen", "10.0.0.1:1", "--mode", "native") < 0);
	assert_says("--interface");
	assert_true(LOAD(BASE, "--listen") < 0);
	assert_says("needs a value");
	assert_true(LOAD(BASE, "--listen", "10.0.0.1:1", "stray") < 0);
	assert_says("stray");
}

/* It takes no more than where the gateway is. */
static void upgrades_need_only_a_socket(void **state)
{
	(void)state;
	assert_int_equal(LOAD("--upgrade"), 0);
	assert_true(config.upgrade);
	assert_string_equal(config.socket, "/run/flipgate/default.sock");
	assert_int_equal(LOAD("--upgrade", "--name", "a"), 0);
	assert_string_equal(config.socket, "/run/flipgate/a.sock");
	assert_int_equal(LOAD("--upgrade", "--socket", "/tmp/s"), 0);
	assert_string_equal(config.socket, "/tmp/s");
	assert_int_equal(LOAD(BASE, "--listen-tcp", "10.0.0.1:1", "--socket-group", "nogroup",
			      "--audit-log", "/tmp/audit.log"),
			 0);
	assert_false(config.upgrade);
	assert_int_equal(config.listen_tcp_count, 1);
	assert_string_equal(config.socket_group, "nogroup");
	assert_string_equal(config.audit_log, "/tmp/audit.log");
	assert_true(config.audit_named);
}

/* History is there without asking; who names a file has it there, or no start. */
static void an_audit_log_by_default(void **state)
{
	(void)state;
	assert_int_equal(LOAD(BASE, "--listen", "10.0.0.1:1", "--name", "a"), 0);
	assert_string_equal(config.state_dir, "/run/flipgate");
	assert_string_equal(config.audit_log, "/run/flipgate/a.audit");
	assert_false(config.audit_named);
	assert_int_equal(LOAD(BASE, "--listen", "10.0.0.1:1", "--state-dir", "/srv"), 0);
	assert_string_equal(config.audit_log, "/srv/default.audit");
	assert_int_equal(LOAD(BASE, "--listen", "10.0.0.1:1", "--audit-log", "none"), 0);
	assert_string_equal(config.audit_log, "");
	assert_int_equal(LOAD(BASE, "--listen", "10.0.0.1:1", "--socket", "/s"), 0);
	assert_string_equal(config.audit_log, "//default.audit");
}

static void bad_files_are_named(void **state)
{
	(void)state;
	assert_true(load_file("listen: ['10.0.0.1:1']\npol: sleep\n", NULL, NULL) < 0);
	assert_says("pol");
	assert_true(load_file("listen: ['10.0.0.1:1']\npoll: quick\n", NULL, NULL) < 0);
	assert_says("poll: \"quick\"");
	assert_true(load_file("listen: 10.0.0.1:1\n", NULL, NULL) < 0);
	assert_says("line");
	assert_true(load_file("listen: [\n", NULL, NULL) < 0);
	assert_true(load_file("", NULL, NULL) < 0);
	assert_true(LOAD(BASE, "--config", "/nowhere.yaml") < 0);
	assert_says("/nowhere.yaml: No such file");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(defaults_and_flags),
		cmocka_unit_test(one_worker_on_each_cpu),
		cmocka_unit_test(files_say_the_same),
		cmocka_unit_test(flags_win),
		cmocka_unit_test(bad_flags_are_named),
		cmocka_unit_test(upgrades_need_only_a_socket),
		cmocka_unit_test(an_audit_log_by_default),
		cmocka_unit_test(bad_files_are_named),
	};

	return cmocka_run_group_tests_name("config", tests, NULL, NULL);
}
