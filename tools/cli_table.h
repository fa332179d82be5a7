/* cli_table.h: columns of text that line up, for people. */
#ifndef FG_TOOLS_CLI_TABLE_H
#define FG_TOOLS_CLI_TABLE_H

#include <stdio.h>
#include "tools/cli_common.h"

#define FG_CLI_TABLE_COLUMNS 16

struct fg_cli_cell {
	char *text; /* UTF-8, owned by the table */
	enum fg_cli_style style;
};

struct fg_cli_table {
	const char *names[FG_CLI_TABLE_COLUMNS]; /* a name that begins with > is right-aligned */
	unsigned columns;
	struct fg_cli_cell *cells; /* row by row */
	size_t count, room;
};

/* Begins a table with the columns named in `names`, a NULL-terminated list of static strings. */
void fg_cli_table_begin(struct fg_cli_table *table, const char *const *names);

/* Adds the next cell, row by row. A process that has no memory for a cell ends here. */
__attribute__((format(printf, 3, 4))) void
fg_cli_table_add(struct fg_cli_table *table, enum fg_cli_style style, const char *format, ...);

/* Prints names and rows, indented by two blanks, and frees the cells. On a terminal a last column
 * that is too long goes on in the next line. */
void fg_cli_table_print(struct fg_cli_table *table, FILE *out);

/* "1,234,567". `text` has room for 32. Returns text. */
char *fg_cli_count(char *text, unsigned long long value);

#endif
