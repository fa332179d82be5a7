#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "userspace/daemon/models_config_token.h"

/* What is shown of a token in an error. */
#define SHOWN(token) (int)((token)->length < 40 ? (token)->length : 40), (token)->text

/* Not <ctype.h>, which asks the locale. */
static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_letter(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

/* -1: no digit of that base. */
static int digit_of(char c, int base)
{
	const int lower = c | 0x20;
	const int value = is_digit(c)			 ? c - '0'
			  : lower >= 'a' && lower <= 'f' ? lower - 'a' + 10
							 : base;

	return value < base ? value : -1;
}

/* ---- finding tokens ---- */

void fg_tokens_begin(struct fg_tokens *tokens, const char *file, const char *text, size_t size)
{
	*tokens = (struct fg_tokens){
		.file = file, .next = text, .end = text + size, .line_start = text, .line = 1};
}

static void skip_space(struct fg_tokens *tokens)
{
	bool comment = false;

	for (; tokens->next < tokens->end; tokens->next++) {
		const char c = *tokens->next;

		if (c == '\n') {
			comment = false;
			tokens->line++;
			tokens->line_start = tokens->next + 1;
		} else if (c == '#') {
			comment = true;
		} else if (!comment && !memchr(" \t\r\v\f", c, 5)) {
			return;
		}
	}
}

static struct fg_models_at here(const struct fg_tokens *tokens)
{
	return (struct fg_models_at){tokens->file, tokens->line,
				     (uint32_t)(tokens->next - tokens->line_start) + 1};
}

static int take_string(struct fg_tokens *tokens, struct fg_error *error)
{
	const char quote = *tokens->next++;

	for (; tokens->next < tokens->end && *tokens->next != '\n'; tokens->next++) {
		if (*tokens->next == quote) {
			tokens->next++;
			return 0;
		}
		if (*tokens->next == '\\' && tokens->next + 1 < tokens->end &&
		    tokens->next[1] != '\n')
			tokens->next++;
	}
	return fg_models_fail(error, &tokens->now.at, "a text that has no closing %c in its line",
			      quote);
}

/* Letters are part of it, so that "10bar" is one bad number and not two tokens. */
static void take_number(struct fg_tokens *tokens)
{
	for (; tokens->next < tokens->end; tokens->next++) {
		const char c = *tokens->next, before = tokens->next[-1];
		const bool sign = (c == '+' || c == '-') && (before == 'e' || before == 'E') &&
				  tokens->now.text[1] != 'x' && tokens->now.text[1] != 'X';

		if (!is_digit(c) && !is_letter(c) && c != '.' && !sign)
			return;
	}
}

int fg_tokens_next(struct fg_tokens *tokens, struct fg_error *error)
{
	struct fg_token *now = &tokens->now;
	int code = 0;
	char c;

	skip_space(tokens);
	*now = (struct fg_token){.text = tokens->next, .at = here(tokens)};
	if (tokens->next == tokens->end)
		return 0;
	c = *tokens->next;
	if (is_letter(c)) {
		now->kind = FG_TOKEN_NAME;
		while (tokens->next < tokens->end &&
		       (is_letter(*tokens->next) || is_digit(*tokens->next)))
			tokens->next++;
	} else if (is_digit(c) || c == '.') {
		now->kind = FG_TOKEN_NUMBER;
		tokens->next++;
		take_number(tokens);
	} else if (c == '"' || c == '\'') {
		now->kind = FG_TOKEN_STRING;
		code = take_string(tokens, error);
	} else if (c && strchr("{}<>[]:,;-/", c)) {
		now->kind = FG_TOKEN_SYMBOL;
		tokens->next++;
	} else {
		code = fg_models_fail(error, &now->at, "'%c' (byte 0x%02x) means nothing here", c,
				      (unsigned char)c);
	}
	now->length = (size_t)(tokens->next - now->text);
	return code;
}

bool fg_token_is(const struct fg_token *token, char symbol)
{
	return token->kind == FG_TOKEN_SYMBOL && token->text[0] == symbol;
}

bool fg_token_is_name(const struct fg_token *token, const char *name)
{
	return token->kind == FG_TOKEN_NAME && token->length == strlen(name) &&
	       !memcmp(token->text, name, token->length);
}

/* ---- what they mean ---- */

int fg_token_number(const struct fg_token *token, uint64_t *value, struct fg_error *error)
{
	const bool hex =
		token->length > 2 && token->text[0] == '0' && (token->text[1] | 0x20) == 'x';
	const int base = hex ? 16 : token->text[0] == '0' ? 8 : 10;
	size_t i;

	*value = 0;
	for (i = hex ? 2 : 0; i < token->length; i++) {
		const int digit = digit_of(token->text[i], base);

		if (digit < 0)
			return fg_models_fail(error, &token->at, "%.*s is no whole number%s",
					      SHOWN(token),
					      base == 8 ? " (0 begins an octal one)" : "");
		if (__builtin_mul_overflow(*value, (uint64_t)base, value) ||
		    __builtin_add_overflow(*value, (uint64_t)digit, value))
			return fg_models_fail(error, &token->at, "%.*s is beyond 2^64-1",
					      SHOWN(token));
	}
	return 0;
}

/* Up to `most` digits at *at. -1: not even `least`. */
static int64_t take_digits(const char **at, const char *end, int base, int least, int most)
{
	int64_t value = 0;
	int count;

	for (count = 0; count < most && *at < end && digit_of(**at, base) >= 0; count++)
		value = value * base + digit_of(*(*at)++, base);
	return count < least ? -1 : value;
}

/* One character of UTF-8; returns its length. */
static size_t put_utf8(char bytes[4], uint32_t code)
{
	const size_t more = code < 0x80 ? 0 : code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
	static const unsigned char first[] = {0, 0xc0, 0xe0, 0xf0};
	size_t i;

	bytes[0] = (char)(first[more] | code >> 6 * more);
	for (i = 1; i <= more; i++)
		bytes[i] = (char)(0x80 | (code >> 6 * (more - i) & 0x3f));
	return more + 1;
}

/* What follows a backslash at *at. Returns how many bytes it means; 0: it is no escape. */
static size_t take_escape(const char **at, const char *end, char bytes[4])
{
	static const char names[] = "abfnrtv?\\'\"", values[] = "\a\b\f\n\r\t\v?\\'\"";
	const char name = *(*at)++;
	const char *simple = name ? strchr(names, name) : NULL;
	int64_t code;

	if (simple) {
		bytes[0] = values[simple - names];
		return 1;
	}
	if (name == 'u' || name == 'U') {
		code = take_digits(at, end, 16, name == 'u' ? 4 : 8, name == 'u' ? 4 : 8);
		if (code <= 0 || code > 0x10ffff)
			return 0;
		return put_utf8(bytes, (uint32_t)code);
	}
	if (name == 'x' || name == 'X') {
		code = take_digits(at, end, 16, 1, 2);
	} else {
		(*at)--;
		code = take_digits(at, end, 8, 1, 3);
	}
	bytes[0] = (char)code;
	return code > 0 && code <= 0xff;
}

int fg_token_append(const struct fg_token *token, char *text, size_t size, struct fg_error *error)
{
	const char *at = token->text + 1, *end = token->text + token->length - 1;
	size_t used = strlen(text), count;
	char bytes[4];

	while (at < end) {
		const char *start = at;

		bytes[0] = *at++;
		count = bytes[0] != '\0';
		if (bytes[0] == '\\')
			count = take_escape(&at, end, bytes);
		if (!count)
			return fg_models_fail(error, &token->at,
					      "\"%.*s\" in a text is no character",
					      start[0] != '\\' ? 1
					      : at - start < 2 ? 2
							       : (int)(at - start),
					      start);
		if (used + count >= size)
			return fg_models_fail(error, &token->at, "a text of more than %zu bytes",
					      size - 1);
		memcpy(text + used, bytes, count);
		used += count;
		text[used] = '\0';
	}
	return 0;
}
