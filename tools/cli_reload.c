/* flipgate reload: the models' configuration again, all or nothing. */
#include "tools/cli_common.h"

#include "tools/cli_json.h"
#include "tools/cli_order.h"

static const char help[] =
	"Usage: flipgate reload [OPTION]...\n"
	"\n"
	"Reads the models' configuration again and tries it: versions that are new in it are\n"
	"packed, warmed, checked, and flipped in, all of them or none. Returns when that is live;\n"
	"where anything fails, says what, and nothing has changed.\n"
	"\n" FG_CLI_WAIT_HELP FG_CLI_ORDER_HELP "\n"
	"Example:\n"
	"  flipgate reload --why 'model fraud added'\n";

/* ": digits 2, fraud 1" */
static void print_models(const json_t *models)
{
	json_t *model;
	size_t i;

	json_array_foreach((json_t *)models, i, model)
	{
		printf("%s%s %lld", i ? ", " : ": ", fg_cli_text_of(model, "model"),
		       fg_cli_integer_of(model, "version"));
	}
	putchar('\n');
}

static void print_reload(const json_t *reply)
{
	printf("%s, generation %lld",
	       json_is_false(json_object_get(reply, "changed"))
		       ? "the configuration is in force; no version changed"
		       : "the new configuration is live",
	       fg_cli_integer_of(reply, "generation"));
	print_models(json_object_get(reply, "models"));
}

static int run(const struct fg_cli_verb *verb, int argc, char **argv)
{
	struct fg_cli_order order = fg_cli_order(verb);
	int code = fg_cli_order_parse(&order, argc, argv, 0, "");

	if (code >= 0)
		return code;
	return fg_cli_order_run(&order, json_pack("{s:s}", "verb", "reload"), print_reload);
}

const struct fg_cli_verb fg_cli_reload = {
	.name = "reload",
	.summary = "try the models' configuration again, all or nothing",
	.help = help,
	.run = run,
};
