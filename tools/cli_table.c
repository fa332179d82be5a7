#include "tools/cli_table.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define LAST_WIDTH  40 /* the last column goes on below itself if it is that wide ... */
#define LAST_INDENT 6  /* ... else here */

void fg_cli_table_begin(struct fg_cli_table *table, const char *const *names)
{
	memset(table, 0, sizeof(*table));
	while (names[table->columns] && table->columns < FG_CLI_TABLE_COLUMNS) {
		table->names[table->columns] = names[table->columns];
		table->columns++;
	}
}

void fg_cli_table_add(struct fg_cli_table *table, enum fg_cli_style style, const char *format, ...)
{
	struct fg_cli_cell cell = {.style = style};
	va_list args;

	va_start(args, format);
	if (vasprintf(&cell.text, format, args) < 0)
		abort();
	va_end(args);
	if (table->count == table->room) {
		table->room = table->room ? table->room * 2 : 64;
		table->cells = realloc(table->cells, table->room * sizeof(cell));
		if (!table->cells)
			abort();
	}
	table->cells[table->count++] = cell;
}

/* Characters, not bytes: continuation bytes of UTF-8 take no room on the screen. */
static int width_of(const char *text)
{
	int width = 0;

	for (; *text; text++)
		width += (*text & 0xc0) != 0x80;
	return width;
}

/* The last column, when it is left-aligned: `from` is where it begins. */
static void print_last(FILE *out, const char *text, enum fg_cli_style style, unsigned int from)
{
	unsigned int width = fg_cli_width(out);

	if (!*text)
		return; /* no blanks at the end of a line */
	fprintf(out, "  %s", style == FG_CLI_PLAIN ? "" : fg_cli_style(style));
	fg_cli_wrap(out, from, from + LAST_WIDTH < width ? from : LAST_INDENT, text);
	fputs(style == FG_CLI_PLAIN ? "" : fg_cli_style(FG_CLI_PLAIN), out);
}

static void print_cell(FILE *out, const char *text, enum fg_cli_style style, int width, bool right)
{
	int blanks = width > width_of(text) ? width - width_of(text) : 0;

	fprintf(out, "  %*s", right ? blanks : 0, "");
	if (style == FG_CLI_PLAIN)
		fputs(text, out);
	else
		fprintf(out, "%s%s%s", fg_cli_style(style), text, fg_cli_style(FG_CLI_PLAIN));
	fprintf(out, "%*s", right ? 0 : blanks, "");
}

void fg_cli_table_print(struct fg_cli_table *table, FILE *out)
{
	unsigned int last = table->columns - 1, from = 0;
	int widths[FG_CLI_TABLE_COLUMNS];

	for (unsigned c = 0; c < table->columns; c++) {
		widths[c] = width_of(table->names[c]) - (table->names[c][0] == '>');
		for (size_t i = c; i < table->count; i += table->columns)
			if (width_of(table->cells[i].text) > widths[c])
				widths[c] = width_of(table->cells[i].text);
		from += c < last ? 2 + (unsigned int)widths[c] : 2;
	}
	for (unsigned c = 0; c < table->columns; c++) {
		bool right = table->names[c][0] == '>';

		if (c == last && !right)
			print_last(out, table->names[c], FG_CLI_DIM, from);
		else
			print_cell(out, table->names[c] + right, FG_CLI_DIM, widths[c], right);
	}
	for (size_t i = 0; i < table->count; i++) {
		unsigned c = (unsigned)(i % table->columns);
		bool right = table->names[c][0] == '>';

		if (c == 0)
			fputc('\n', out);
		if (c == last && !right)
			print_last(out, table->cells[i].text, table->cells[i].style, from);
		else
			print_cell(out, table->cells[i].text, table->cells[i].style, widths[c],
				   right);
		free(table->cells[i].text);
	}
	fputc('\n', out);
	free(table->cells);
	table->cells = NULL;
	table->count = table->room = 0;
}

char *fg_cli_count(char *text, unsigned long long value)
{
	char digits[24];
	int length = snprintf(digits, sizeof(digits), "%llu", value);
	char *to = text;

	for (int i = 0; i < length; i++) {
		if (i && (length - i) % 3 == 0)
			*to++ = ',';
		*to++ = digits[i];
	}
	*to = 0;
	return text;
}
