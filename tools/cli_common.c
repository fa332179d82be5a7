#include "tools/cli_common.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

static char program[32] = "flipgate";

char *fg_cli_begin(const struct fg_cli_verb *verb)
{
	snprintf(program, sizeof(program), "flipgate: %s", verb->name);
	return program;
}

unsigned int fg_cli_width(FILE *out)
{
	struct winsize size;

	if (!isatty(fileno(out)))
		return 0;
	return ioctl(fileno(out), TIOCGWINSZ, &size) || size.ws_col < 20 ? 80 : size.ws_col;
}

/* C0, DEL, and C1 as UTF-8 has them: 0xc2 0x80 to 0xc2 0x9f. */
static bool is_control(const unsigned char *at)
{
	return *at < 0x20 || *at == 0x7f || (at[0] == 0xc2 && at[1] >= 0x80 && at[1] < 0xa0);
}

char *fg_cli_printable(char *text, size_t room, const char *from)
{
	size_t length = 0;

	for (; *from && length + 1 < room; from++)
		text[length++] = is_control((const unsigned char *)from) ? '?' : *from;
	text[length] = 0;
	return text;
}

void fg_cli_wrap(FILE *out, unsigned int column, unsigned int indent, const char *text)
{
	unsigned int width = fg_cli_width(out);
	size_t blanks, word;

	for (; *text; text += blanks + word) {
		blanks = strspn(text, " ");
		word = strcspn(text + blanks, " ");
		if (width && column > indent && column + blanks + word > width) {
			fprintf(out, "\n%*s", (int)indent, "");
			text += blanks;
			blanks = 0;
			column = indent;
		}
		fwrite(text, 1, blanks + word, out);
		column += (unsigned int)(blanks + word);
	}
}

int fg_cli_fail(enum fg_cli_exit code, const char *format, ...)
{
	char text[2048], printable[sizeof(text)];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	fprintf(stderr, "%s: ", program);
	fg_cli_wrap(stderr, (unsigned int)strlen(program) + 2, 4,
		    fg_cli_printable(printable, sizeof(printable), text));
	fputc('\n', stderr);
	return code;
}

enum fg_cli_exit fg_cli_exit_of(int error)
{
	switch (error) {
	case 0:
		return FG_CLI_OK;
	case -EINVAL:
	case -EMSGSIZE:
		return FG_CLI_USAGE;
	case -EREMOTEIO:
	case -ENOBUFS:
		return FG_CLI_REFUSED;
	case -ETIMEDOUT:
		return FG_CLI_TIMEOUT;
	default:
		return FG_CLI_UNREACHABLE;
	}
}

int fg_cli_usage(const struct fg_cli_verb *verb, const char *format, ...)
{
	va_list args;

	fprintf(stderr, "flipgate: %s: ", verb->name);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fprintf(stderr, "\ntry: flipgate %s --help\n", verb->name);
	return FG_CLI_USAGE;
}

int fg_cli_option(const struct fg_cli_verb *verb, int option, const char *value,
		  struct fg_cli_output *output)
{
	switch (option) {
	case 'h':
		fputs(verb->help, stdout);
		return FG_CLI_OK;
	case 'o':
		output->json = strcmp(value, "json") == 0;
		if (!output->json && strcmp(value, "text") != 0)
			return fg_cli_usage(verb, "--output %s: want json or text", value);
		return -1;
	default: /* getopt_long has said what is wrong */
		fprintf(stderr, "try: flipgate %s --help\n", verb->name);
		return FG_CLI_USAGE;
	}
}

int fg_cli_u64(const struct fg_cli_verb *verb, const char *option, const char *text, uint64_t low,
	       uint64_t high, uint64_t *value)
{
	char *end;

	errno = 0;
	*value = strtoull(text, &end, strncmp(text, "0x", 2) == 0 ? 16 : 10);
	if (*text < '0' || *text > '9' || *end || errno || *value < low || *value > high)
		return fg_cli_usage(verb, "%s %s: want a whole number from %llu to %llu", option,
				    text, (unsigned long long)low, (unsigned long long)high);
	return 0;
}

int fg_cli_double(const struct fg_cli_verb *verb, const char *option, const char *text, double low,
		  double high, double *value)
{
	char *end;

	*value = strtod(text, &end);
	if (end == text || *end || !(*value >= low && *value <= high))
		return fg_cli_usage(verb, "%s %s: want a number from %g to %g", option, text, low,
				    high);
	return 0;
}

bool fg_cli_decimal(const char *text, const char *unit, double *value)
{
	size_t digits = strspn(text, "0123456789"), length = digits;

	if (text[length] == '.')
		length += 1 + strspn(text + length + 1, "0123456789");
	if (digits == 0 || text[length - 1] == '.' || strcmp(text + length, unit) != 0)
		return false;
	*value = strtod(text, NULL);
	return true;
}

/* Parts per `scale` of a number, when it has no finer parts: 0.07 * 100 is not quite 7. */
static bool whole_parts(double value, double scale, uint64_t *parts)
{
	double scaled = value * scale;

	if (!(scaled < 1e15) || fabs(scaled - round(scaled)) > 1e-6)
		return false;
	*parts = (uint64_t)llround(scaled);
	return true;
}

int fg_cli_time(const struct fg_cli_verb *verb, const char *option, const char *text,
		uint64_t low_ms, uint64_t high_ms, uint64_t *ms)
{
	static const struct {
		const char *unit;
		double ms;
	} units[] = {{"ms", 1}, {"s", 1e3}, {"m", 60e3}, {"h", 3600e3}};
	char low[16], high[16];
	double number;

	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++)
		if (fg_cli_decimal(text, units[i].unit, &number) &&
		    whole_parts(number, units[i].ms, ms) && *ms >= low_ms && *ms <= high_ms)
			return 0;
	return fg_cli_usage(verb,
			    "%s %s: want a time with its unit, such as 250ms, 30s or 2m, from %s "
			    "to %s",
			    option, text, fg_cli_duration(low, (double)low_ms / 1e3),
			    fg_cli_duration(high, (double)high_ms / 1e3));
}

int fg_cli_share(const struct fg_cli_verb *verb, const char *option, const char *text,
		 uint32_t *share)
{
	double percent;
	uint64_t parts;

	if (!fg_cli_decimal(text, "%", &percent))
		return fg_cli_usage(verb, "%s %s: want percents, such as 5%% or 0.5%%", option,
				    text);
	if (!whole_parts(percent, FG_CLI_WHOLE / 100.0, &parts) || parts < 1 ||
	    parts > FG_CLI_WHOLE)
		return fg_cli_usage(verb, "%s %s: want 0.01%% to 100%%, in steps of 0.01%%", option,
				    text);
	*share = (uint32_t)parts;
	return 0;
}

int64_t fg_cli_now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

bool fg_cli_is_tty(FILE *out)
{
	const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");

	return isatty(fileno(out)) && !(no_color && *no_color) && term && strcmp(term, "dumb") != 0;
}

const char *fg_cli_style(enum fg_cli_style style)
{
	static const char *const escapes[] = {
		[FG_CLI_PLAIN] = "\033[0m",  [FG_CLI_BOLD] = "\033[1m",
		[FG_CLI_DIM] = "\033[2m",    [FG_CLI_RED] = "\033[31m",
		[FG_CLI_GREEN] = "\033[32m", [FG_CLI_YELLOW] = "\033[33m",
		[FG_CLI_CYAN] = "\033[36m",
	};

	return fg_cli_is_tty(stdout) ? escapes[style] : "";
}

/* Three digits: 1.23, 12.3, 123. */
static char *three_digits(char *text, double value, const char *unit)
{
	int decimals = value < 9.995 ? 2 : value < 99.95 ? 1 : 0;

	snprintf(text, 16, "%.*f %s", decimals, value, unit);
	return text;
}

char *fg_cli_duration(char *text, double seconds)
{
	double size = fabs(seconds);

	if (size == 0)
		return strcpy(text, "0");
	if (size < 999.5e-9)
		return three_digits(text, seconds * 1e9, "ns");
	if (size < 999.5e-6)
		return three_digits(text, seconds * 1e6, "us");
	if (size < 0.9995)
		return three_digits(text, seconds * 1e3, "ms");
	if (size < 120)
		return three_digits(text, seconds, "s");
	if (size < 7200)
		return three_digits(text, seconds / 60, "min");
	return three_digits(text, seconds / 3600, "h");
}

char *fg_cli_bytes(char *text, double bytes)
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
	size_t unit = 0;

	while (bytes >= 1023.5 && unit < 4) {
		bytes /= 1024;
		unit++;
	}
	if (unit == 0)
		snprintf(text, 16, "%.0f B", bytes);
	else
		three_digits(text, bytes, units[unit]);
	return text;
}
