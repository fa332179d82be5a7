#include "tools/cli_table.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

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

static void print_cell(FILE *out, const char *text, enum fg_cli_style style, int width, bool right)
{
	int blanks = width > width_of(text) ? width - width_of(text) : 0;

	if (width == 0 && !*text)
		return; /* nothing in the last column: no blanks at the end of a line */
	fprintf(out, "  %*s", right ? blanks : 0, "");
	if (style == FG_CLI_PLAIN)
		fputs(text, out);
	else
		fprintf(out, "%s%s%s", fg_cli_style(style), text, fg_cli_style(FG_CLI_PLAIN));
	fprintf(out, "%*s", right ? 0 : blanks, "");
}

void fg_cli_table_print(struct fg_cli_table *table, FILE *out)
{
	int widths[FG_CLI_TABLE_COLUMNS];

	for (unsigned c = 0; c < table->columns; c++) {
		widths[c] = width_of(table->names[c]) - (table->names[c][0] == '>');
		for (size_t i = c; i < table->count; i += table->columns)
			if (width_of(table->cells[i].text) > widths[c])
				widths[c] = width_of(table->cells[i].text);
	}
	for (unsigned c = 0; c < table->columns; c++) {
		bool right = table->names[c][0] == '>';

		print_cell(out, table->names[c] + right, FG_CLI_DIM,
			   c + 1 < table->columns || right ? widths[c] : 0, right);
	}
	for (size_t i = 0; i < table->count; i++) {
		unsigned c = (unsigned)(i % table->columns);
		bool right = table->names[c][0] == '>';

		if (c == 0)
			fputc('\n', out);
		print_cell(out, table->cells[i].text, table->cells[i].style,
			   c + 1 < table->columns || right ? widths[c] : 0, right);
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
