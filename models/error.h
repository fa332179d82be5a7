/* error.h: the text that travels with an -errno, for errors a person must act on. */
#ifndef FG_MODELS_ERROR_H
#define FG_MODELS_ERROR_H

#include <stdarg.h>
#include <stdio.h>

/*
 * One line, without a final newline: what was wrong, where, and what to do. The caller of a
 * function owns the struct; a function writes it only when it returns a negative errno. Longer
 * text is cut.
 */
struct fg_error {
	char text[256];
};

/* Formats into `error` (which may be NULL) and returns `code`, so that a caller can write
 * `return fg_error_set(error, -EINVAL, "...")`. Any context; no allocation. */
__attribute__((format(printf, 3, 4))) static inline int
fg_error_set(struct fg_error *error, int code, const char *format, ...)
{
	va_list args;

	if (!error)
		return code;
	va_start(args, format);
	vsnprintf(error->text, sizeof(error->text), format, args);
	va_end(args);
	return code;
}

#endif
