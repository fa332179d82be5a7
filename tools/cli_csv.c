#include "tools/cli_matrix.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

struct csv {
	double *values;
	size_t count, room;
	size_t rows, cols;
	size_t line; /* number of the line, from 1 */
};

static int push(struct csv *csv, double value)
{
	if (csv->count == csv->room) {
		size_t room = csv->room ? csv->room * 2 : 1024;
		double *larger = realloc(csv->values, room * sizeof(*larger));

		if (!larger)
			return -ENOMEM;
		csv->values = larger;
		csv->room = room;
	}
	csv->values[csv->count++] = value;
	return 0;
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

static bool ends_cell(char c)
{
	return is_blank(c) || c == ',' || c == ';' || c == '\n' || c == 0;
}

/* One line, text[0 .. length). Cells are parsed in place: strtod stops at a separator. */
static int parse_line(struct csv *csv, const char *text, size_t length, struct fg_error *error)
{
	const char *at = text, *end = text + length;
	size_t cols = 0;

	while (at < end) {
		char *rest;
		double value;

		while (at < end && is_blank(*at))
			at++;
		if (at == end)
			break;
		value = strtod(at, &rest);
		if (rest == at || rest > end || !ends_cell(*rest))
			return fg_error_set(error, -EINVAL, "line %zu, column %zu: %s", csv->line,
					    cols + 1,
					    *at == ',' || *at == ';'
						    ? "empty: write nan for a missing value"
						    : "not a number");
		if (push(csv, value))
			return fg_error_set(error, -ENOMEM, "line %zu: out of memory", csv->line);
		cols++;
		for (at = rest; at < end && is_blank(*at); at++)
			;
		if (at < end && (*at == ',' || *at == ';') && ++at == end)
			return fg_error_set(error, -EINVAL, "line %zu: ends in a separator",
					    csv->line);
	}
	if (csv->rows++ && cols != csv->cols)
		return fg_error_set(error, -EINVAL,
				    "line %zu: %zu numbers, the rows before have %zu", csv->line,
				    cols, csv->cols);
	csv->cols = cols;
	return 0;
}

static bool is_number(const char *field, const char *end)
{
	char *rest;

	strtod(field, &rest);
	if (rest == field)
		return false;
	while (rest < end && is_blank(*rest))
		rest++;
	return rest == end;
}

/*
 * A row of numbers that begins with an empty or a misspelt field is not a line of names: to skip it
 * would give every answer the number of another row. Blanks separate fields only where nothing else
 * does: "area 1,area 2" are two names.
 */
static bool has_only_names(const char *text, size_t length)
{
	const char *end = text + length, *next;
	bool commas = memchr(text, ',', length) || memchr(text, ';', length);
	bool named = false;

	for (; text < end; text = next + 1) {
		while (text < end && is_blank(*text))
			text++;
		for (next = text; next < end; next++)
			if (*next == ',' || *next == ';' || (!commas && is_blank(*next)))
				break;
		if (is_number(text, next))
			return false;
		named |= next > text;
	}
	return named;
}

bool fg_csv_parse_header(const char *word, enum fg_csv_header *header)
{
	static const char *const words[] = {"auto", "yes", "no"};

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (strcmp(word, words[i]))
			continue;
		*header = (enum fg_csv_header)i;
		return true;
	}
	return false;
}

static bool is_empty(const char *text, size_t length)
{
	while (length && is_blank(*text)) {
		text++;
		length--;
	}
	return length == 0 || *text == '#';
}

int fg_csv_parse(struct fg_matrix *matrix, const char *text, size_t length,
		 enum fg_csv_header header, struct fg_error *error)
{
	struct csv csv = {.line = 0};
	const char *end = text + length;
	size_t names = 0;
	bool first = true;
	int code = 0;

	while (text < end && !code) {
		const char *newline = memchr(text, '\n', (size_t)(end - text));
		size_t line = (size_t)((newline ? newline : end) - text);

		csv.line++;
		if (!is_empty(text, line)) {
			if (first && (header == FG_CSV_HEADER_YES ||
				      (header == FG_CSV_HEADER_AUTO && has_only_names(text, line))))
				names = csv.line;
			else
				code = parse_line(&csv, text, line, error);
			first = false;
		}
		text += line + 1;
	}
	if (!code && (csv.rows == 0 || csv.cols > UINT32_MAX))
		code = fg_error_set(error, -EINVAL, "want rows of numbers, this has none");
	if (code) {
		free(csv.values);
		return code;
	}
	*matrix = (struct fg_matrix){.rows = csv.rows,
				     .cols = (uint32_t)csv.cols,
				     .dims = 2,
				     .dtype = FG_DTYPE_F64,
				     .names = names,
				     .data = csv.values};
	return 0;
}
