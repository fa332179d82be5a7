/* error.h: the text that travels with an -errno, for errors a person must act on. */
#ifndef FG_MODELS_ERROR_H
#define FG_MODELS_ERROR_H

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define FG_ERROR_BYTES 512

/*
 * One line, without a final newline: what was wrong, where, and what to do. The caller of a
 * function owns the struct; a function writes it only when it returns a negative errno. Text that
 * is longer than any of ours (names from files are) ends in " ..." after a whole word.
 */
struct fg_error {
	char text[FG_ERROR_BYTES];
};

/* Of a text that did not fit: leaves whole words. */
static inline void fg_error_cut(struct fg_error *error)
{
	const size_t room = sizeof(error->text) - sizeof(" ...");
	char *end;

	error->text[room] = 0;
	end = strrchr(error->text, ' ');
	strcpy(end && (size_t)(end - error->text) > room / 2 ? end : error->text + room, " ...");
}

/* Formats into `error` (which may be NULL) and returns `code`, so that a caller can write
 * `return fg_error_set(error, -EINVAL, "...")`. Any context; no allocation. */
__attribute__((format(printf, 3, 4))) static inline int
fg_error_set(struct fg_error *error, int code, const char *format, ...)
{
	va_list args;
	int length;

	if (!error)
		return code;
	va_start(args, format);
	length = vsnprintf(error->text, sizeof(error->text), format, args);
	va_end(args);
	if (length >= (int)sizeof(error->text))
		fg_error_cut(error);
	return code;
}

#endif
