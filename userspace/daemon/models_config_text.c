/*
 * TensorFlow Serving's models.config. The messages are tables of fields; one walker reads them all
 * and calls what a field does. The tables nest five deep and name nothing above themselves, which
 * bounds the recursion; what is skipped is skipped without one.
 */
#include <errno.h>
#include <string.h>
#include "userspace/daemon/models_config_rules.h"
#include "userspace/daemon/models_config_token.h"

#define MAX_TEXT   1024 /* bytes of a string: longer than any that is good */
#define MAX_NESTED 64	/* brackets in a field that is skipped */

struct parser {
	struct fg_tokens tokens;
	struct fg_rules *rules;
	struct fg_error *error;
	struct fg_rules_model model; /* the config that is being read ... */
	char label[MAX_TEXT];	     /* ... and its version_labels */
	uint64_t label_version;
};

struct value {
	const struct fg_models_at *at;
	const char *text; /* of a string */
	uint64_t number;
};

enum field_kind { MESSAGE, STRING, NUMBER, IGNORED, REFUSED };

struct field {
	const char *name;
	enum field_kind kind;
	bool repeated;
	int choice; /* of fields with the same number above 0 one may stand (a oneof) */
	const struct field *fields; /* of a MESSAGE; ends with one without a name */
	int (*begin)(struct parser *parser);
	int (*end)(struct parser *parser, const struct fg_models_at *at);
	int (*take)(struct parser *parser, const struct value *value);
	const char *hint; /* of a REFUSED one: what to do instead */
};

/* ---- what fields do ---- */

static int take_name(struct parser *parser, const struct value *value)
{
	return fg_models_set_name(&parser->model, value->text, value->at, parser->error);
}

static int take_base_path(struct parser *parser, const struct value *value)
{
	return fg_models_set_path(parser->model.path, value->text, value->at, parser->error);
}

static int begin_latest(struct parser *parser)
{
	parser->model.policy = FG_RULES_LATEST;
	parser->model.count = 1;
	return 0;
}

/* TensorFlow Serving takes 0 for 1. */
static int take_num_versions(struct parser *parser, const struct value *value)
{
	return fg_models_set_count(&parser->model, value->number ? value->number : 1, value->at,
				   parser->error);
}

static int begin_all(struct parser *parser)
{
	parser->model.policy = FG_RULES_ALL;
	parser->model.count = 0;
	return 0;
}

static int begin_specific(struct parser *parser)
{
	parser->model.policy = FG_RULES_SPECIFIC;
	parser->model.count = 0;
	return 0;
}

static int take_version(struct parser *parser, const struct value *value)
{
	return fg_models_add_version(&parser->model, value->number, value->at, parser->error);
}

static int end_specific(struct parser *parser, const struct fg_models_at *at)
{
	if (parser->model.count)
		return 0;
	return fg_models_fail(parser->error, at, "specific names no version: versions: 1");
}

static int begin_label(struct parser *parser)
{
	parser->label[0] = '\0';
	parser->label_version = 0;
	return 0;
}

static int take_key(struct parser *parser, const struct value *value)
{
	strcpy(parser->label, value->text);
	return 0;
}

static int take_value(struct parser *parser, const struct value *value)
{
	parser->label_version = value->number;
	return 0;
}

static int end_label(struct parser *parser, const struct fg_models_at *at)
{
	return fg_models_add_label(&parser->model, parser->label, parser->label_version, at,
				   parser->error);
}

static int begin_config(struct parser *parser)
{
	parser->model = parser->rules->defaults;
	return 0;
}

static int end_config(struct parser *parser, const struct fg_models_at *at)
{
	return fg_models_add(parser->rules, &parser->model, at, parser->error);
}

/* ---- the messages ---- */

static const struct field latest_fields[] = {
	{.name = "num_versions", .kind = NUMBER, .take = take_num_versions},
	{0},
};
static const struct field all_fields[] = {{0}};
static const struct field specific_fields[] = {
	{.name = "versions", .kind = NUMBER, .repeated = true, .take = take_version},
	{0},
};
static const struct field policy_fields[] = {
	{.name = "latest",
	 .kind = MESSAGE,
	 .choice = 1,
	 .fields = latest_fields,
	 .begin = begin_latest},
	{.name = "all", .kind = MESSAGE, .choice = 1, .fields = all_fields, .begin = begin_all},
	{.name = "specific",
	 .kind = MESSAGE,
	 .choice = 1,
	 .fields = specific_fields,
	 .begin = begin_specific,
	 .end = end_specific},
	{.name = "latest_once",
	 .kind = REFUSED,
	 .choice = 1,
	 .hint = "leave it out and start flipgated with --policy manual"},
	{0},
};
static const struct field label_fields[] = {
	{.name = "key", .kind = STRING, .take = take_key},
	{.name = "value", .kind = NUMBER, .take = take_value},
	{0},
};
static const struct field config_fields[] = {
	{.name = "name", .kind = STRING, .take = take_name},
	{.name = "base_path", .kind = STRING, .take = take_base_path},
	{.name = "model_platform", .kind = IGNORED},
	{.name = "model_type", .kind = IGNORED},
	{.name = "model_version_policy", .kind = MESSAGE, .fields = policy_fields},
	{.name = "version_labels",
	 .kind = MESSAGE,
	 .repeated = true,
	 .fields = label_fields,
	 .begin = begin_label,
	 .end = end_label},
	{.name = "logging_config", .kind = IGNORED},
	{0},
};
static const struct field list_fields[] = {
	{.name = "config",
	 .kind = MESSAGE,
	 .repeated = true,
	 .fields = config_fields,
	 .begin = begin_config,
	 .end = end_config},
	{0},
};
static const struct field file_fields[] = {
	{.name = "model_config_list", .kind = MESSAGE, .choice = 1, .fields = list_fields},
	{.name = "custom_model_config",
	 .kind = REFUSED,
	 .choice = 1,
	 .hint = "list the models in model_config_list"},
	{0},
};

/* ---- words ---- */

static int next(struct parser *parser)
{
	return fg_tokens_next(&parser->tokens, parser->error);
}

static bool is(const struct parser *parser, char symbol)
{
	return fg_token_is(&parser->tokens.now, symbol);
}

/* Something else stands where `wanted` should. */
static int unexpected(struct parser *parser, const char *wanted)
{
	const struct fg_token *now = &parser->tokens.now;

	if (now->kind == FG_TOKEN_END)
		return fg_models_fail(parser->error, &now->at, "the file ends here, %s is missing",
				      wanted);
	return fg_models_fail(parser->error, &now->at, "%s is missing before %.*s", wanted,
			      (int)(now->length < 40 ? now->length : 40), now->text);
}

static int expect(struct parser *parser, char symbol, const char *wanted)
{
	return is(parser, symbol) ? next(parser) : unexpected(parser, wanted);
}

/* Literals that follow each other are one text. */
static int read_string(struct parser *parser, char text[MAX_TEXT])
{
	int code = 0;

	text[0] = '\0';
	if (parser->tokens.now.kind != FG_TOKEN_STRING)
		return unexpected(parser, "a text in quotes");
	while (!code && parser->tokens.now.kind == FG_TOKEN_STRING) {
		code = fg_token_append(&parser->tokens.now, text, MAX_TEXT, parser->error);
		if (!code)
			code = next(parser);
	}
	return code;
}

static int read_number(struct parser *parser, uint64_t *number)
{
	const bool minus = is(parser, '-');
	int code = minus ? next(parser) : 0;

	if (!code && parser->tokens.now.kind != FG_TOKEN_NUMBER)
		code = unexpected(parser, "a number");
	if (!code)
		code = fg_token_number(&parser->tokens.now, number, parser->error);
	if (!code && minus && *number)
		code = fg_models_fail(parser->error, &parser->tokens.now.at,
				      "-%llu: no number here may be negative",
				      (unsigned long long)*number);
	return code ? code : next(parser);
}

/* ---- values ---- */

static int read_scalar(struct parser *parser, const struct field *field)
{
	const struct fg_models_at at = parser->tokens.now.at;
	char text[MAX_TEXT];
	struct value value = {.at = &at, .text = text};
	int code = field->kind == STRING ? read_string(parser, text)
					 : read_number(parser, &value.number);

	return code ? code : field->take(parser, &value);
}

static int read_fields(struct parser *parser, const struct field *fields, char close);

static int read_message(struct parser *parser, const struct field *field,
			const struct fg_models_at *at)
{
	const char close = is(parser, '<') ? '>' : '}';
	int code;

	if (!is(parser, '<') && !is(parser, '{'))
		return unexpected(parser, "{");
	code = next(parser);
	if (!code && field->begin)
		code = field->begin(parser);
	if (!code)
		code = read_fields(parser, field->fields, close);
	if (!code)
		code = next(parser);
	return code || !field->end ? code : field->end(parser, at);
}

static int read_one(struct parser *parser, const struct field *field, const struct fg_models_at *at)
{
	return field->kind == MESSAGE ? read_message(parser, field, at)
				      : read_scalar(parser, field);
}

/* [a, b]: the same as the field twice. */
static int read_list(struct parser *parser, const struct field *field)
{
	struct fg_models_at at;
	int code = next(parser);

	if (!code && is(parser, ']'))
		return next(parser);
	while (!code) {
		at = parser->tokens.now.at;
		code = read_one(parser, field, &at);
		if (code || !is(parser, ','))
			break;
		code = next(parser);
	}
	return code ? code : expect(parser, ']', "] or ,");
}

static bool is_open(const struct parser *parser)
{
	return is(parser, '{') || is(parser, '<') || is(parser, '[');
}

static char closing(char open)
{
	return open == '{' ? '}' : open == '<' ? '>' : ']';
}

/* Brackets must fit each other; what else is in them does not matter. */
static int skip_brackets(struct parser *parser)
{
	char stack[MAX_NESTED];
	size_t depth = 0;
	int code;

	do {
		const struct fg_token *now = &parser->tokens.now;
		const char wanted[] = {depth ? stack[depth - 1] : '\0', '\0'};

		if (is_open(parser)) {
			if (depth == MAX_NESTED)
				return fg_models_fail(parser->error, &now->at,
						      "nested more than %d deep", MAX_NESTED);
			stack[depth++] = closing(now->text[0]);
		} else if (is(parser, wanted[0])) {
			depth--;
		} else if (now->kind == FG_TOKEN_END || is(parser, '}') || is(parser, '>') ||
			   is(parser, ']')) {
			return unexpected(parser, wanted);
		}
		code = next(parser);
	} while (!code && depth);
	return code;
}

static int skip_value(struct parser *parser)
{
	const bool minus = is(parser, '-');
	char text[MAX_TEXT];
	int code;

	if (is_open(parser))
		return skip_brackets(parser);
	if (parser->tokens.now.kind == FG_TOKEN_STRING)
		return read_string(parser, text);
	code = minus ? next(parser) : 0;
	if (!code && parser->tokens.now.kind != FG_TOKEN_NAME &&
	    parser->tokens.now.kind != FG_TOKEN_NUMBER)
		code = unexpected(parser, "a value");
	return code ? code : next(parser);
}

/* ---- fields ---- */

static const struct field *find_field(struct parser *parser, const struct field *fields)
{
	const struct fg_token *now = &parser->tokens.now;
	const struct field *field;
	char known[128] = "";

	for (field = fields; field->name; field++) {
		size_t used = strlen(known);

		if (fg_token_is_name(now, field->name))
			return field;
		if (field->kind != REFUSED)
			snprintf(known + used, sizeof(known) - used, "%s%s", used ? ", " : "",
				 field->name);
	}
	fg_models_fail(parser->error, &now->at, "no field %.*s here%s%s",
		       (int)(now->length < 40 ? now->length : 40), now->text,
		       known[0] ? "; known are " : "", known);
	return NULL;
}

/* *seen: one bit for each of `fields` that stood before. */
static int check_again(struct parser *parser, const struct field *fields, const struct field *field,
		       uint32_t *seen)
{
	const struct fg_models_at *at = &parser->tokens.now.at;
	uint32_t i;

	if (field->kind == REFUSED)
		return fg_models_fail(parser->error, at, "%s is not supported: %s", field->name,
				      field->hint);
	for (i = 0; fields[i].name; i++) {
		if (!(*seen & 1u << i))
			continue;
		if (&fields[i] == field && !field->repeated)
			return fg_models_fail(parser->error, at, "%s stands twice", field->name);
		if (&fields[i] != field && field->choice && fields[i].choice == field->choice)
			return fg_models_fail(parser->error, at, "%s and %s: only one of them",
					      fields[i].name, field->name);
	}
	*seen |= 1u << (field - fields);
	return 0;
}

static int read_field(struct parser *parser, const struct field *field)
{
	const struct fg_models_at at = parser->tokens.now.at;
	int code = next(parser);

	if (code)
		return code;
	if (is(parser, ':'))
		code = next(parser);
	else if (field->kind != MESSAGE && !(field->kind == IGNORED && is_open(parser)))
		code = unexpected(parser, ":");
	if (code)
		return code;
	if (field->kind == IGNORED)
		code = skip_value(parser);
	else if (field->repeated && is(parser, '['))
		code = read_list(parser, field);
	else
		code = read_one(parser, field, &at);
	if (!code && (is(parser, ',') || is(parser, ';')))
		code = next(parser);
	return code;
}

/* Up to `close`, which is left to the caller; '\0': up to the end of the text. */
static int read_fields(struct parser *parser, const struct field *fields, char close)
{
	const char wanted[] = {close, '\0'};
	const struct field *field;
	uint32_t seen = 0;
	int code;

	while (close ? !is(parser, close) : parser->tokens.now.kind != FG_TOKEN_END) {
		if (parser->tokens.now.kind != FG_TOKEN_NAME)
			return unexpected(parser, close && parser->tokens.now.kind == FG_TOKEN_END
							  ? wanted
							  : "a field's name");
		field = find_field(parser, fields);
		if (!field)
			return -EINVAL;
		code = check_again(parser, fields, field, &seen);
		if (!code)
			code = read_field(parser, field);
		if (code)
			return code;
	}
	return 0;
}

int fg_models_parse_text(struct fg_rules *rules, const char *name, const char *text, size_t size,
			 struct fg_error *error)
{
	struct parser parser = {.rules = rules, .error = error};
	int code;

	fg_tokens_begin(&parser.tokens, name, text, size);
	code = next(&parser);
	return code ? code : read_fields(&parser, file_fields, '\0');
}
