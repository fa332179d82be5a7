/*
 * models_config_token.h: protobuf's text format as a run of tokens.
 * https://protobuf.dev/reference/protobuf/textformat-spec/, "Lexical Elements".
 */
#ifndef FG_DAEMON_MODELS_CONFIG_TOKEN_H
#define FG_DAEMON_MODELS_CONFIG_TOKEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "models/error.h"
#include "userspace/daemon/models_config_rules.h"

enum fg_token_kind {
	FG_TOKEN_END = 0, /* of the text */
	FG_TOKEN_NAME,	  /* letters, digits, _; not first a digit */
	FG_TOKEN_NUMBER,  /* as it is written, without a sign; whole or not */
	FG_TOKEN_STRING,  /* one literal, with its quotes */
	FG_TOKEN_SYMBOL,  /* one byte */
};

struct fg_token {
	enum fg_token_kind kind;
	const char *text; /* length bytes of the text, no NUL */
	size_t length;
	struct fg_models_at at;
};

struct fg_tokens {
	const char *file;
	const char *next, *end, *line_start;
	uint32_t line;
	struct fg_token now; /* the one to look at */
};

/* Begins before the first token: call fg_tokens_next. */
void fg_tokens_begin(struct fg_tokens *tokens, const char *file, const char *text, size_t size);

/* Moves on to the next token; at the end it stays there. -EINVAL with *error: none begins there. */
int fg_tokens_next(struct fg_tokens *tokens, struct fg_error *error);

bool fg_token_is(const struct fg_token *token, char symbol);
bool fg_token_is_name(const struct fg_token *token, const char *name);

/* The value of a NUMBER: decimal, octal ("017") or hexadecimal ("0x1f"). */
int fg_token_number(const struct fg_token *token, uint64_t *value, struct fg_error *error);

/* Appends what a STRING means to `text` (size bytes, NUL-terminated). -EINVAL: an escape that is
 * none, a NUL, no room. */
int fg_token_append(const struct fg_token *token, char *text, size_t size, struct fg_error *error);

#endif
