#include <string.h>
#include "sched/rules.h"

const struct fg_rules_model *fg_rules_find(const struct fg_rules *rules, const char *model)
{
	uint32_t i;

	for (i = 0; i < rules->model_count; i++)
		if (!strcmp(rules->models[i].name, model))
			return &rules->models[i];
	return rules->repository[0] ? &rules->defaults : NULL;
}

bool fg_rules_manual(const struct fg_rules *rules, const char *model)
{
	const struct fg_rules_model *rule = fg_rules_find(rules, model);

	return rule && rule->policy == FG_RULES_MANUAL;
}
