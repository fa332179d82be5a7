#include <string.h>
#include "userspace/daemon/models_config.h"
#include "userspace/daemon/scout.h"

static bool is_text(const char *text, size_t size)
{
	return memchr(text, 0, size);
}

/* Any other byte in a bool is undefined where it is read. */
static bool is_bool(const bool *value)
{
	uint8_t byte;

	memcpy(&byte, value, sizeof(byte));
	return byte <= 1;
}

static bool check_version(const struct fg_store_version *version)
{
	return is_text(version->directory, sizeof(version->directory)) && version->version &&
	       fg_repository_parse_version(version->directory) == version->version &&
	       is_bool(&version->complete);
}

static bool check_model(const struct fg_store_model *model)
{
	uint32_t i;

	if (!is_text(model->name, sizeof(model->name)) || !fg_repository_valid_model(model->name) ||
	    model->count > FG_STORE_MAX_VERSIONS)
		return false;
	for (i = 0; i < model->count; i++)
		if (!check_version(&model->versions[i]) ||
		    (i && model->versions[i].version <= model->versions[i - 1].version))
			return false;
	return true;
}

static bool check_remarks(const struct fg_remarks *remarks)
{
	uint32_t i;

	if (remarks->count > FG_REMARKS_MAX)
		return false;
	for (i = 0; i < remarks->count; i++) {
		const struct fg_remark *remark = &remarks->list[i];

		if (!is_text(remark->model, sizeof(remark->model)) ||
		    !is_text(remark->path, sizeof(remark->path)) ||
		    !is_text(remark->reason, sizeof(remark->reason)) ||
		    (remark->model[0] && !fg_repository_valid_model(remark->model)))
			return false;
	}
	return true;
}

bool fg_scout_check_findings(const struct fg_findings *findings)
{
	const struct fg_store *store = &findings->store;
	uint32_t i;

	if (store->count > FG_ROLLOUT_MAX_MODELS || !check_remarks(&findings->remarks))
		return false;
	for (i = 0; i < store->count; i++)
		if (!check_model(&store->models[i]) ||
		    fg_store_find(store, store->models[i].name) != &store->models[i])
			return false;
	return true;
}

bool fg_scout_check_config(const struct fg_scout_config *config)
{
	return is_text(config->error.text, sizeof(config->error.text)) &&
	       (config->error.text[0] || !config->read || fg_models_config_check(&config->rules));
}
