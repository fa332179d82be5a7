/* cli_common.h: what the verbs of the command line tool share: exit codes, options, colours. */
#ifndef FG_TOOLS_CLI_COMMON_H
#define FG_TOOLS_CLI_COMMON_H

#include <getopt.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* What `flipgate` exits with; the same for every verb. */
enum fg_cli_exit {
	FG_CLI_OK = 0,
	FG_CLI_USAGE = 1,	/* the command line is wrong */
	FG_CLI_REFUSED = 2,	/* the server said no: not found, failed, not able to */
	FG_CLI_UNREACHABLE = 3, /* nobody listens there */
	FG_CLI_TIMEOUT = 4,	/* or interrupted before the end */
	FG_CLI_BAD_DATA = 5,	/* a file cannot be read, or a model is not valid */
	FG_CLI_ROLLED_BACK = 6, /* a guard broke, or somebody aborted */
	FG_CLI_CONFLICT = 7,	/* --expect-current did not hold */
};

struct fg_cli_verb {
	const char *name;
	const char *summary; /* one line for `flipgate --help` */
	const char *help;    /* all of `flipgate VERB --help` */
	/* argv[0] is the verb's name. Returns an exit code. */
	int (*run)(const struct fg_cli_verb *verb, int argc, char **argv);
};

extern const struct fg_cli_verb fg_cli_infer, fg_cli_load, fg_cli_status, fg_cli_publish,
	fg_cli_promote, fg_cli_rollback, fg_cli_rollout_verb, fg_cli_pause, fg_cli_resume,
	fg_cli_abort, fg_cli_shadow, fg_cli_reload, fg_cli_upgrade, fg_cli_history, fg_cli_inspect,
	fg_cli_verify;

/* Copies at most room - 1 bytes, with '?' for every control character: what others wrote (reasons,
 * names in models) must not steer the terminal. Returns text. */
char *fg_cli_printable(char *text, size_t room, const char *from);

/* Columns of the terminal that `out` is; 0: it is none. */
unsigned int fg_cli_width(FILE *out);

/* Prints text that begins in `column` (from 0); on a terminal it breaks between words, and goes on
 * in column `indent`. */
void fg_cli_wrap(FILE *out, unsigned int column, unsigned int indent, const char *text);

/* Messages are of this verb from now on. Returns what getopt shall call the program: "flipgate:
 * VERB". */
char *fg_cli_begin(const struct fg_cli_verb *verb);

/* Prints "flipgate: VERB: ..." on stderr, wrapped, control characters as '?', and returns `code`.
 */
__attribute__((format(printf, 2, 3))) int fg_cli_fail(enum fg_cli_exit code, const char *format,
						      ...);

/* The exit code for a -errno of libflipgate or of the control socket. */
enum fg_cli_exit fg_cli_exit_of(int error);

/* Options that every verb takes. Put FG_CLI_OPTIONS into the table for getopt_long. */
#define FG_CLI_OPTIONS                                                                             \
	{"output", required_argument, NULL, 'o'}, {"help", no_argument, NULL, 'h'},                \
	{                                                                                          \
		NULL, 0, NULL, 0                                                                   \
	}

struct fg_cli_output {
	bool json;
};

/*
 * Handles what every verb handles alike. Returns -1 when the verb goes on, else an exit code:
 * after --help, on an unknown option, on an --output that is neither json nor text.
 */
int fg_cli_option(const struct fg_cli_verb *verb, int option, const char *value,
		  struct fg_cli_output *output);

/* "try: flipgate VERB --help" after the message. Returns FG_CLI_USAGE. */
__attribute__((format(printf, 2, 3))) int fg_cli_usage(const struct fg_cli_verb *verb,
						       const char *format, ...);

/*
 * Numbers on the command line: 0, or FG_CLI_USAGE with a message that names the option and the
 * range. fg_cli_u64 takes decimal and 0x.
 */
int fg_cli_u64(const struct fg_cli_verb *verb, const char *option, const char *text, uint64_t low,
	       uint64_t high, uint64_t *value);
int fg_cli_double(const struct fg_cli_verb *verb, const char *option, const char *text, double low,
		  double high, double *value);

/* "250ms", "30s", "1.5m", "2h": the unit must be there, because nobody agrees on what a bare number
 * means. Whole milliseconds. */
int fg_cli_time(const struct fg_cli_verb *verb, const char *option, const char *text,
		uint64_t low_ms, uint64_t high_ms, uint64_t *ms);

#define FG_CLI_WHOLE 10000 /* shares of traffic are parts of this */
/* "25%", "0.5%": a share of traffic, 1 .. FG_CLI_WHOLE; finer than 0.01% is refused. */
int fg_cli_share(const struct fg_cli_verb *verb, const char *option, const char *text,
		 uint32_t *share);

/*
 * A decimal number without sign or exponent, directly before `unit` ("%", "x", "") and the end of
 * the text. False for everything else, also for "inf", hexadecimal and blanks.
 */
bool fg_cli_decimal(const char *text, const char *unit, double *value);

/* CLOCK_MONOTONIC. */
int64_t fg_cli_now_ms(void);

enum fg_cli_style {
	FG_CLI_PLAIN,
	FG_CLI_BOLD,
	FG_CLI_DIM,
	FG_CLI_RED,
	FG_CLI_GREEN,
	FG_CLI_YELLOW,
	FG_CLI_CYAN,
};

/* Is `out` a terminal that takes colours? Honours NO_COLOR and TERM=dumb. */
bool fg_cli_is_tty(FILE *out);

/* The escape sequence that begins a style on stdout, or "" where there are no colours. */
const char *fg_cli_style(enum fg_cli_style style);

/* "12.3 ms", "45.6 us" and so on, 3 digits; "4.2 GiB". `text` has room for 16. Returns text. */
char *fg_cli_duration(char *text, double seconds);
char *fg_cli_bytes(char *text, double bytes);

#endif
