/* What the command line tool does with long texts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>
#include "models/error.h"
#include "tools/cli_table.h"

static const char reason[] = "node '/TopK': operator TopK is not supported: do it on the client";

/* A terminal of so many columns; *screen reads what is printed to it. */
static FILE *open_terminal(unsigned short columns, int *screen)
{
	struct winsize size = {.ws_row = 24, .ws_col = columns};
	struct termios modes;
	int terminal;

	*screen = posix_openpt(O_RDWR | O_NOCTTY);
	assert_true(*screen >= 0);
	assert_int_equal(grantpt(*screen), 0);
	assert_int_equal(unlockpt(*screen), 0);
	terminal = open(ptsname(*screen), O_RDWR | O_NOCTTY);
	assert_true(terminal >= 0);
	assert_int_equal(tcgetattr(terminal, &modes), 0);
	cfmakeraw(&modes);
	assert_int_equal(tcsetattr(terminal, TCSANOW, &modes), 0);
	assert_int_equal(ioctl(terminal, TIOCSWINSZ, &size), 0);
	return fdopen(terminal, "w");
}

/* The terminal's driver hands over what was written when it has time to. */
static void expect(FILE *terminal, int screen, const char *wanted)
{
	struct pollfd poller = {.fd = screen, .events = POLLIN};
	char text[1024];
	size_t length = 0;
	ssize_t got;

	fflush(terminal);
	while (length < strlen(wanted) && poll(&poller, 1, 2000) > 0) {
		got = read(screen, text + length, sizeof(text) - 1 - length);
		assert_true(got > 0);
		length += (size_t)got;
	}
	text[length] = 0;
	assert_string_equal(text, wanted);
	fclose(terminal);
	close(screen);
}

static void a_long_line_breaks_between_words(void **state)
{
	int screen;
	FILE *terminal = open_terminal(40, &screen);

	(void)state;
	fg_cli_wrap(terminal, 10, 4, reason);
	expect(terminal, screen,
	       "node '/TopK': operator TopK is\n    not supported: do it on the client");
}

static void a_word_wider_than_the_screen_is_whole(void **state)
{
	int screen;
	FILE *terminal = open_terminal(20, &screen);

	(void)state;
	fg_cli_wrap(terminal, 0, 2, "see /srv/models/digits/3/model.onnx there");
	expect(terminal, screen, "see\n  /srv/models/digits/3/model.onnx\n  there");
}

static void no_terminal_no_breaks(void **state)
{
	char *text = NULL;
	size_t length = 0;
	FILE *file = open_memstream(&text, &length);

	(void)state;
	fg_cli_wrap(file, 0, 4, reason);
	fclose(file);
	assert_string_equal(text, reason);
	free(text);
}

static void the_last_column_goes_on_below_itself(void **state)
{
	static const char *const names[] = {"model", "reason", NULL};
	struct fg_cli_table table;
	int screen;
	FILE *terminal = open_terminal(60, &screen);

	(void)state;
	fg_cli_table_begin(&table, names);
	fg_cli_table_add(&table, FG_CLI_PLAIN, "digits");
	fg_cli_table_add(&table, FG_CLI_PLAIN, "%s", reason);
	fg_cli_table_print(&table, terminal);
	expect(terminal, screen,
	       "  model   reason\n"
	       "  digits  node '/TopK': operator TopK is not supported: do\n"
	       "          it on the client\n");
}

/* Of what is longer than any reason, whole words are left. */
static void a_text_is_cut_between_words(void **state)
{
	struct fg_error error;
	char name[2 * FG_ERROR_BYTES];

	(void)state;
	memset(name, 'x', sizeof(name));
	name[sizeof(name) - 1] = 0;
	for (size_t i = 10; i < sizeof(name); i += 10)
		name[i] = ' ';
	assert_int_equal(fg_error_set(&error, -5, "%s", name), -5);
	assert_true(strlen(error.text) < FG_ERROR_BYTES);
	assert_true(strlen(error.text) > FG_ERROR_BYTES - 20);
	assert_string_equal(strrchr(error.text, 'x'), "x ...");
	for (size_t i = 10; i < sizeof(name); i += 10)
		name[i] = 'x';
	fg_error_set(&error, -5, "%s", name);
	assert_int_equal(strlen(error.text), FG_ERROR_BYTES - 1);
	fg_error_set(&error, -5, "%.*s", FG_ERROR_BYTES - 1, name);
	assert_null(strchr(error.text, '.'));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_long_line_breaks_between_words),
		cmocka_unit_test(a_word_wider_than_the_screen_is_whole),
		cmocka_unit_test(no_terminal_no_breaks),
		cmocka_unit_test(the_last_column_goes_on_below_itself),
		cmocka_unit_test(a_text_is_cut_between_words),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
